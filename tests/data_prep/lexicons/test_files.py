"""Lexicon files of every format are read exactly, and what is wrong in them is named."""

from __future__ import annotations

import gzip
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.lexicons.files import read_lexicon, write_lexicon
from data_prep.lexicons.lexicon import Entry, build_lexicon
from xcot_jax.errors import InputError
from xcot_jax.languages import CODES

FILE = """# provenance: hand-made, CC0
# a comment
en\tsw\tapples\tmatofaa
en\tsw\tHow  many\tngapi\t0.8
en\tsw\thow many\tkiasi gani\t0.2
en\tzh\tapples\t苹果

"""
# As kaikki.org writes them, shortened.
WIKTIONARY = [
    {
        "word": "apple",
        "lang": "English",
        "lang_code": "en",
        "pos": "noun",
        "senses": [
            {
                "glosses": ["A common, round fruit"],
                "translations": [{"lang": "Swahili", "code": "sw", "word": "tofaa"}],
            }
        ],
        "translations": [
            {"lang": "Russian", "lang_code": "ru", "word": "я́блоко", "roman": "jábloko"},
            {"lang": "Mandarin", "code": "cmn", "sense": "fruit", "word": "蘋果 /苹果"},
            {"lang": "German", "code": "de", "word": "Apfel", "tags": ["masculine"]},
            {"lang": "Volapük", "code": "vo", "word": "pod"},
            {"lang": "Thai", "code": "th", "note": "none"},
        ],
    },
    {"word": "Paris", "lang_code": "en", "pos": "name", "translations": [{"code": "es"}]},
    {"word": "un-", "lang_code": "en", "pos": "prefix"},
    {"word": "pod", "lang_code": "vo", "pos": "noun"},
    {"title": "appel", "redirect": "apple"},
]


@pytest.fixture
def written(tmp_path):
    def write(text, name="words.tsv"):
        path = tmp_path / name
        data = text.encode()
        path.write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)
        return path

    return write


def json_lines(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def test_file_gives_candidates_by_pair_and_provenance(written):
    path = written(FILE)
    lexicon = read_lexicon(path)
    swahili = lexicon.table("en", "sw")
    assert swahili.candidates == {"apples": ("matofaa",), "how many": ("ngapi", "kiasi gani")}
    assert swahili.longest == {"apples": 1, "how": 2}
    assert swahili.weights == {"how many": (0.8, 0.2)}
    assert lexicon.sizes() == {"en-sw": 2, "en-zh": 1}
    assert lexicon.provenance == "words.tsv: hand-made, CC0"
    assert lexicon.files == {"words.tsv": hashlib.sha256(path.read_bytes()).hexdigest()}
    assert lexicon.covers("en", "zh")
    assert not lexicon.covers("zh", "en")
    assert lexicon.table("en", "th").candidates == {}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("en\tsw\tapples", "words.tsv:2: 3 columns"),
        ("en\tsw\tapples\t", "words.tsv:2: 4 columns, of them 3 filled"),
        ("en\tsw\tapples\tmatofaa\t0.9\t1", "words.tsv:2: 6 columns"),
        ("en\tsw\tapples\tmatofaa\tmany", "words.tsv:2: score 'many' is no number above 0"),
        ("en\tsw\tapples\tmatofaa\t0", "words.tsv:2: score '0' is no number above 0"),
        ("en\tsw\tapples\tmatofaa\tinf", "words.tsv:2: score 'inf' is no number above 0"),
        ("en\tswa\tapples\tmatofaa", "words.tsv:2: unknown language 'swa'; did you mean 'sw'"),
    ],
)
def test_bad_line_is_named(written, line, message):
    with pytest.raises(InputError, match=message):
        read_lexicon(written("# comment\n" + line + "\n"))


def test_missing_empty_unknown_and_broken_files_are_errors(written, tmp_path):
    with pytest.raises(InputError, match=r'no such file or directory, nor "story"'):
        read_lexicon(tmp_path / "none.tsv")
    with pytest.raises(InputError, match="no entry"):
        read_lexicon(written("# nothing\n"))
    with pytest.raises(InputError, match=r"formats are NAME\.tsv"):
        read_lexicon(written("en\tsw\ta\tb\n", "words.doc"))
    path = written(FILE, "words.tsv.gz")
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(InputError, match=r"words\.tsv\.gz: after line"):
        read_lexicon(path)
    path = tmp_path / "latin.tsv"
    path.write_bytes("en\tfr\tsummer\tété\n".encode("latin-1"))
    with pytest.raises(InputError, match="latin.tsv: after line 0"):
        read_lexicon(path)


def test_muse_takes_its_languages_from_the_name(written):
    text = "dog mbwa\ndog\tjibwa\ncat paka\n"
    for name in ("en-sw.txt", "en-sw.0-5000.txt", "en-sw.5000-6500.txt.gz"):
        lexicon = read_lexicon(written(text, name))
        assert lexicon.table("en", "sw").candidates == {"dog": ("mbwa", "jibwa"), "cat": ("paka",)}
        assert "CC BY-NC 4.0" in lexicon.provenance
    said = read_lexicon(written("# provenance: my own, CC0\n" + text, "en-sw.txt"))
    assert said.provenance == "en-sw.txt: my own, CC0"
    with pytest.raises(InputError, match=r"en-sw\.txt:2: 3 words"):
        read_lexicon(written("dog mbwa\nhot dog mkate\n", "en-sw.txt"))
    with pytest.raises(InputError, match=r"en-xx\.txt: unknown language 'xx'"):
        read_lexicon(written(text, "en-xx.txt"))


@pytest.mark.parametrize("name", ["english.jsonl", "english.jsonl.gz"])
def test_wiktionary_gives_the_translations_of_all_senses(written, name):
    lexicon = read_lexicon(written(json_lines(WIKTIONARY), name))
    assert {pair: dict(table.candidates) for pair, table in lexicon.tables.items()} == {
        ("en", "sw"): {"apple": ("tofaa",)},
        ("en", "ru"): {"apple": ("яблоко",)},
        ("en", "zh"): {"apple": ("苹果",)},
        ("en", "de"): {"apple": ("Apfel",)},
    }
    assert lexicon.left_out == {
        "translation into an unsupported language, or none": 2,
        "name, number, sign or part of a word": 2,
        "word of an unsupported language, or none": 2,
    }
    assert lexicon.provenance == f"{name}: Wiktionary via kaikki.org, CC BY-SA and GFDL"


def test_bad_wiktionary_lines_are_named(written):
    with pytest.raises(InputError, match=r"w\.jsonl:2: not valid JSON"):
        read_lexicon(written(json_lines(WIKTIONARY[:1]) + "{", "w.jsonl"))
    with pytest.raises(InputError, match=r"w\.jsonl:1: not a JSON object"):
        read_lexicon(written("[1]\n", "w.jsonl"))


def test_directory_is_all_lexicons_in_it(written, tmp_path):
    for text, name in (
        (FILE, "b.tsv"),
        ("apples tufaha\n", "en-sw.txt"),
        (json_lines(WIKTIONARY), "c.jsonl"),
        ("About these files.", "README"),
        ("nothing", ".hidden"),
    ):
        written(text, name)
    lexicon = read_lexicon(tmp_path)
    assert lexicon.table("en", "sw").candidates["apples"] == ("matofaa", "tufaha")
    assert lexicon.table("en", "sw").candidates["apple"] == ("tofaa",)
    assert list(lexicon.files) == ["b.tsv", "c.jsonl", "en-sw.txt"]
    assert lexicon.left_out["file of no lexicon format"] == 1
    for said in ("hand-made, CC0", "Wiktionary", "MUSE"):
        assert said in lexicon.provenance
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no lexicon file in this directory"):
        read_lexicon(tmp_path / "empty")


COLUMN = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1)
PHRASE = st.one_of(st.from_regex(r"[a-zéß]{1,6}( [a-z]{1,6}){0,2}", fullmatch=True), COLUMN)
ENTRIES = st.lists(
    st.builds(
        Entry,
        st.sampled_from(CODES),
        st.sampled_from(CODES),
        PHRASE,
        PHRASE,
        st.one_of(st.just(1.0), st.floats(1e-6, 1e6)),
    ),
    max_size=12,
)


@given(ENTRIES)
def test_what_is_written_is_read_back(tmp_path_factory, entries):
    lexicon = build_lexicon(entries, "made up, CC0")
    path = tmp_path_factory.mktemp("lexicon") / "words.tsv"
    write_lexicon(path, lexicon)
    if not lexicon.tables:
        with pytest.raises(InputError, match="no entry"):
            read_lexicon(path)
        return
    again = read_lexicon(path)
    assert again.tables == lexicon.tables
    assert again.provenance == "words.tsv: made up, CC0"
    write_lexicon(path, entries, "made up, CC0")
    assert read_lexicon(path).tables == lexicon.tables


def test_entry_that_would_not_be_read_back_is_not_written(tmp_path):
    for entry in (Entry("en", "de", "a\tb", "c"), Entry("en", "de", "a", " ")):
        with pytest.raises(ValueError, match="an empty column, or a tab or line break"):
            write_lexicon(tmp_path / "words.tsv", [entry])
    assert not list(tmp_path.iterdir())
