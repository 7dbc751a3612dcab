"""Lexicons compare words as texts do, keep candidates in order, and can be merged."""

from __future__ import annotations

import pytest

from data_prep.lexicons.lexicon import Entry, build_lexicon, load_lexicon, merged, phrase_parts
from data_prep.problems import Problem
from xcot_jax.errors import InputError
from xcot_jax.languages import CODES
from xcot_jax.settings import InductionSettings, PrepSettings, Settings, XiclSettings


def load(*names, problems=(), **prep):
    xicl = XiclSettings(lexicon=names)
    return load_lexicon(Settings(prep=PrepSettings(xicl=xicl, **prep)), problems)


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


def test_weights_are_kept_where_scores_differ_from_one():
    lexicon = build_lexicon(
        [
            Entry("en", "de", "box", "Kiste", 0.6),
            Entry("en", "de", "box", "Schachtel", 0.3),
            Entry("en", "de", "Box", "Kiste", 0.2),
            Entry("en", "de", "red", "rot"),
            Entry("en", "de", "red", "rote"),
        ]
    )
    table = lexicon.table("en", "de")
    assert table.candidates == {"box": ("Kiste", "Schachtel"), "red": ("rot", "rote")}
    assert table.weights == {"box": (0.6, 0.3)}
    assert merged([lexicon, build_lexicon(())]).tables == lexicon.tables


def test_digest_follows_the_entries():
    entry = Entry("en", "sw", "apples", "matofaa")
    first = build_lexicon([entry]).digest
    assert build_lexicon([entry], "with a word on its origin").digest == first
    assert build_lexicon([Entry("en", "sw", "apples", "tofaa")]).digest != first
    assert build_lexicon([Entry("en", "sw", "apples", "matofaa", 0.5)]).digest != first


def test_story_lexicons_differ_by_the_withheld_words():
    every, seen = load("story"), load("story-seen")
    for pair, size in seen.sizes().items():
        assert 0 < size < every.sizes()[pair]
        source, target = pair.split("-")
        assert set(seen.table(source, target).candidates) < set(
            every.table(source, target).candidates
        )
    assert set(every.sizes()) == {f"en-{code}" for code in CODES if code != "en"}


def test_lexicons_are_merged_in_order(tmp_path):
    path = tmp_path / "mine.tsv"
    path.write_text(
        "# provenance: mine, CC0\nen\tde\tapples\tÄppel\nen\tde\tzebra\tStreifenpferd\t0.5\n",
        encoding="utf-8",
    )
    story = load("story")
    candidates = story.table("en", "de").candidates["apples"]
    both = load(str(path), "story")
    assert both.table("en", "de").candidates["apples"] == ("Äppel", *candidates)
    assert both.table("en", "de").weights == {"zebra": (0.5,)}
    assert load("story", str(path)).table("en", "de").candidates["apples"] == (
        *candidates,
        "Äppel",
    )
    assert both.sizes()["en-de"] == story.sizes()["en-de"] + 1
    assert both.provenance == f"mine.tsv: mine, CC0; {story.provenance}"
    assert list(both.files) == ["mine.tsv"]


def test_no_lexicon_is_an_empty_one():
    assert load().sizes() == {}


def test_induced_lexicon_needs_problems():
    with pytest.raises(InputError, match="nothing can be induced for en-sw: too few"):
        load("induced", languages=("en", "sw"))


def test_induced_lexicon_covers_the_languages_the_problems_have():
    words = {"dog": "mbwa", "cat": "paka", "book": "kitabu", "tree": "mti", "box": "sanduku"}
    problems = [
        Problem(str(n), {"en": f"the {a} the {b}.", "sw": f"{x} {y}."}, "", "1")
        for n, ((a, x), (b, y)) in enumerate(
            (one, other) for one in words.items() for other in words.items() if one != other
        )
    ]
    lexicon = load(
        "induced",
        problems=problems,
        languages=("en", "sw", "zh"),
        induction=InductionSettings(longest_phrase=1),
        provenance="made up",
    )
    assert lexicon.sizes() == {"en-sw": 5}
    assert {k: v[0] for k, v in lexicon.table("en", "sw").candidates.items()} == words
    assert lexicon.provenance == "induced from the training problems (made up) by word alignment"
