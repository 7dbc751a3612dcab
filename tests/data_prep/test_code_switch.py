"""Code-switching replaces what it should, exactly, and nothing else."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.code_switch import code_switch, fragments, restore, shifted
from data_prep.lexicons.lexicon import Entry, build_lexicon

ENGLISH = {
    "apples": "matofaa",
    "how many": "ngapi",
    "how": "vipi",
    "many": "nyingi",
    "how many apples": "matofaa mangapi",
    "red": "nyekundu",
    "the": "hiyo",
    "does": "je",
    "buys": "ananunua",
    "mark": "alama",
    "rose": "waridi",
    "a": "moja ya",
    "price": "bei",
    "total": "jumla",
    "three": "tatu",
    "ice-cream": "barafu",
    "friend": "rafiki",
}
LEXICON = build_lexicon([Entry("en", "sw", k, v) for k, v in ENGLISH.items()])


def switch(text, rate=1.0, seed=0, lexicon=LEXICON, source="en", target="sw", protected=()):
    text, switches, _ = code_switch(
        text,
        lexicon,
        source=source,
        target=target,
        rate=rate,
        rng=np.random.default_rng(seed),
        protected=protected,
    )
    return text, switches


words = st.sampled_from(
    [*ENGLISH, "Mark", "Apples", "HOW", "Zoë", "friend's", "xyzzy", "$12", "3,500", "12.5%", "ten",
     "x", "=", "+", "-", "3rd", "The", "Mr.", "thr33", "–", "“", "”", "naïve", "İ", "ﬁ"]
)  # fmt: skip
gaps = st.sampled_from([" ", " ", " ", "  ", ", ", ". ", "? ", "\n", "; ", "", "'"])
texts = st.lists(st.tuples(words, gaps)).map(lambda pairs: "".join(w + g for w, g in pairs))
rates = st.floats(0, 1)
seeds = st.integers(0, 2**32)


@given(texts | st.text(), seeds)
def test_rate_0_changes_nothing(text, seed):
    assert switch(text, 0.0, seed) == (text, ())


@given(texts, seeds)
def test_rate_1_replaces_every_covered_fragment(text, seed):
    new, switches = switch(text, 1.0, seed)
    covered = fragments(text, LEXICON, "en", "sw")
    assert [s.source for s in switches] == [text[f.start : f.end] for f in covered]
    for found, fragment in zip(switches, covered, strict=True):
        assert new[found.start : found.end].lower() == fragment.candidates[0]


@given(texts | st.text(), rates, seeds)
def test_restoring_gives_the_original(text, rate, seed):
    new, switches = switch(text, rate, seed)
    assert restore(new, switches) == text
    ends = [0, *(s.end for s in switches)]
    assert all(end <= s.start < s.end for end, s in zip(ends, switches, strict=False))


@given(texts, rates, seeds)
def test_numbers_names_and_maths_stay(text, rate, seed):
    new, _ = switch(text, rate, seed, protected=("Zoë", "rose"))
    assert re.findall(r"\d", new) == re.findall(r"\d", text)
    kept = r"\$12|3,500|12\.5%|3rd|thr33|=|\+|Zoë|\brose\b|\bten\b|\bthree\b"
    assert re.findall(kept, new) == re.findall(kept, text)


@given(texts, rates, seeds)
def test_same_seed_same_text(text, rate, seed):
    assert switch(text, rate, seed) == switch(text, rate, seed)


def test_every_fragment_has_the_same_chance():
    text = "apples, " * 20_000
    _, switches = switch(text, 0.3)
    assert len(switches) / 20_000 == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # The longest phrase wins; case of a sentence's first letter is kept.
        ("How many apples?", "Matofaa mangapi?"),
        ("How many red apples?", "Ngapi nyekundu matofaa?"),
        # A phrase does not reach across punctuation, but across any white space.
        ("how, many apples", "vipi, nyingi matofaa"),
        ("how\n many", "ngapi"),
        # Whole words only.
        ("manyfold apples.", "manyfold matofaa."),
        ("ice-cream, ice cream", "barafu, ice cream"),
        ("my friend's friend", "my friend's rafiki"),
        # Names: within a sentence, and where one of them begins a sentence.
        ("He saw Rose. Does Mark know?", "He saw Rose. Je Mark know?"),
        ("Mark buys apples. Does Mark?", "Mark ananunua matofaa. Je Mark?"),
        ("He knows Mr. Mark", "He knows Mr. Mark"),
        ("“The rose”", "“Hiyo waridi”"),
        # Numbers and maths.
        ("three apples, three-year-old", "three matofaa, three-year-old"),
        ("3apples and apples3", "3apples and apples3"),
        ("total = 5 * price; the total", "total = 5 * price; hiyo jumla"),
        ("x - a is a red", "x - a is moja ya nyekundu"),
        ("red - the", "nyekundu - hiyo"),
    ],
)
def test_examples(text, expected):
    assert switch(text)[0] == expected


def test_names_given_are_protected_as_written():
    assert switch("rose and Rose the rose", protected=("rose",))[0] == "rose and Rose hiyo rose"
    assert switch("Rose buys red", protected=("Rose Lee",))[0] == "Rose ananunua nyekundu"


def test_german_nouns_are_not_names():
    lexicon = build_lexicon([Entry("de", "sw", "äpfel", "matofaa")])
    new, _ = switch("Anna kauft Äpfel. Äpfel!", lexicon=lexicon, source="de")
    assert new == "Anna kauft matofaa. Matofaa!"


def test_unspaced_fragment_in_spaced_text_keeps_the_spaces():
    lexicon = build_lexicon(
        [Entry("en", "th", "apples", "แอปเปิล"), Entry("en", "th", "red", "สีแดง")]
    )
    assert switch("3 red apples.", lexicon=lexicon, target="th")[0] == "3 สีแดง แอปเปิล."


CHINESE = build_lexicon(
    [
        Entry("zh", "en", "苹果", "apples"),
        Entry("zh", "en", "苹果树", "apple trees"),
        Entry("zh", "en", "有", "has"),
        Entry("zh", "en", "小明", "Xiaoming"),
    ]
)


def test_unspaced_source_takes_the_longest_match_and_adds_no_space():
    new, switches = switch("小明有12棵苹果树,x=苹果。", lexicon=CHINESE, source="zh", target="en",
                           protected=("小明",))  # fmt: skip
    assert new == "小明has12棵apple trees,x=apples。"
    assert restore(new, switches) == "小明有12棵苹果树,x=苹果。"


@given(st.text(alphabet="苹果树有小明12,。 x=๑", max_size=30), rates, seeds)
def test_unspaced_source_properties(text, rate, seed):
    new, switches = switch(
        text, rate, seed, lexicon=CHINESE, source="zh", target="en", protected=("小明",)
    )
    assert restore(new, switches) == text
    assert re.findall(r"\d|小明", new) == re.findall(r"\d|小明", text)
    assert (rate > 0) or new == text


def test_thai_fragment_never_splits_a_letter_from_its_mark():
    lexicon = build_lexicon([Entry("th", "en", "ก", "K")])
    assert switch("กก้ก", lexicon=lexicon, source="th", target="en")[0] == "Kก้K"


def test_bengali_words_are_matched_whole():
    lexicon = build_lexicon([Entry("bn", "en", "আপেল", "apples"), Entry("bn", "en", "ক", "K")])
    new, _ = switch("কতগুলি আপেল আছে?", lexicon=lexicon, source="bn", target="en")
    assert new == "কতগুলি apples আছে?"


def test_candidates_are_drawn_from_uniformly():
    lexicon = build_lexicon([Entry("en", "sw", "red", t) for t in ("aa", "bb", "cc")])
    new, _ = switch("red, " * 9_000, lexicon=lexicon)
    for candidate in ("aa", "bb", "cc"):
        assert new.count(candidate) == pytest.approx(3_000, abs=200)


def test_shifted_moves_offsets():
    new, switches = switch("The red apples")
    moved = shifted(switches, 5)
    assert [("x" * 5 + new)[s.start : s.end] for s in moved] == ["Hiyo", "nyekundu", "matofaa"]


def test_abbreviations_and_addresses_stay():
    lexicon = build_lexicon(
        [Entry("en", "sw", word, "X") for word in ("a", "m", "the", "com", "at")]
    )
    text = "At 8:00 a.m. see www.the.com for a sale at the U.S. store."
    assert switch(text, lexicon=lexicon)[0] == (
        "X 8:00 a.m. see www.the.com for X sale X X U.S. store."
    )


@pytest.mark.parametrize(
    ("source", "text", "words"),
    [
        ("de", "zwei rote und dreiundzwanzig", ("zwei", "rote", "dreiundzwanzig")),
        ("sw", "mbili nyekundu", ("mbili", "nyekundu")),
        ("ru", "пять красных", ("пять", "красных")),
        ("zh", "一半红", ("一半", "红")),
        ("ja", "二十赤", ("二十", "赤")),
    ],
)
def test_number_words_of_other_languages_stay(source, text, words):
    lexicon = build_lexicon([Entry(source, "en", word, "X") for word in words])
    new, switches = switch(text, lexicon=lexicon, source=source, target="en")
    assert len(switches) == 1
    assert switches[0].source in ("rote", "nyekundu", "красных", "红", "赤")
    assert new.count("X") == 1
