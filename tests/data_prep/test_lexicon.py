"""Lexicon files are read exactly, and what is wrong in them is named."""

from __future__ import annotations

import pytest

from data_prep.lexicon import Entry, build_lexicon, load_lexicon, phrase_parts, read_lexicon
from xcot_jax.errors import InputError
from xcot_jax.languages import CODES
from xcot_jax.settings import PrepSettings, Settings, XiclSettings

FILE = """# provenance: hand-made, CC0
# a comment
en\tsw\tapples\tmatofaa
en\tsw\tHow  many\tngapi
en\tsw\thow many\tkiasi gani
en\tzh\tapples\t苹果

"""


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "words.tsv"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_file_gives_candidates_by_pair_and_provenance(written):
    lexicon = read_lexicon(written(FILE))
    swahili = lexicon.table("en", "sw")
    assert swahili.candidates == {"apples": ("matofaa",), "how many": ("ngapi", "kiasi gani")}
    assert swahili.longest == {"apples": 1, "how": 2}
    assert lexicon.sizes() == {"en-sw": 2, "en-zh": 1}
    assert lexicon.provenance == "words.tsv: hand-made, CC0"
    assert lexicon.covers("en", "zh")
    assert not lexicon.covers("zh", "en")
    assert lexicon.table("en", "th").candidates == {}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("en\tsw\tapples", "words.tsv:2: 3 columns"),
        ("en\tsw\tapples\t", "words.tsv:2: 4 columns, of them 3 filled"),
        ("en\tsw\tapples\tmatofaa\t0.9", "words.tsv:2: 5 columns"),
        ("en\tswa\tapples\tmatofaa", "words.tsv:2: unknown language 'swa'; did you mean 'sw'"),
    ],
)
def test_bad_line_is_named(written, line, message):
    with pytest.raises(InputError, match=message):
        read_lexicon(written("# comment\n" + line + "\n"))


def test_missing_and_empty_files_are_errors(written, tmp_path):
    with pytest.raises(InputError, match=r'no such file, nor "story"'):
        read_lexicon(tmp_path / "none.tsv")
    with pytest.raises(InputError, match="no entry"):
        read_lexicon(written("# nothing\n"))


def test_unusable_entries_are_counted():
    entries = [
        Entry("en", "ru", "pair", "2 штуки"),
        Entry("en", "ru", "4x4", "джип"),
        Entry("en", "ru", "p.m.", "вечера"),
        Entry("en", "ru", "ice-cream", "мороженое"),
    ]
    lexicon = build_lexicon(entries)
    assert lexicon.left_out == {"has a digit": 2, "no word, or punctuation inside": 1}
    assert lexicon.table("en", "ru").candidates == {"ice-cream": ("мороженое",)}


def test_words_compare_without_case_and_composition():
    assert phrase_parts("Cafe\u0301 AU lait", "fr") == phrase_parts("café au Lait", "fr")
    assert phrase_parts("苹果", "zh") == ("苹", "果")
    assert phrase_parts("কতগুলি আপেল", "bn") == ("কতগুলি", "আপেল")


def test_digest_follows_the_entries(written):
    first = read_lexicon(written(FILE)).digest
    assert read_lexicon(written(FILE.replace("# a comment\n", ""))).digest == first
    assert read_lexicon(written(FILE.replace("matofaa", "tofaa"))).digest != first


def test_story_lexicons_differ_by_the_withheld_words():
    def load(name):
        return load_lexicon(Settings(prep=PrepSettings(xicl=XiclSettings(lexicon=name))))

    every, seen = load("story"), load("story-seen")
    for pair, size in seen.sizes().items():
        assert 0 < size < every.sizes()[pair]
        source, target = pair.split("-")
        assert set(seen.table(source, target).candidates) < set(
            every.table(source, target).candidates
        )
    assert set(every.sizes()) == {f"en-{code}" for code in CODES if code != "en"}
