"""The embedded corpus: parallel, solvable, disjoint, and withholding what it says it withholds."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import subprocess
import sys
import unicodedata

import pytest
import regex

from data_prep import stories
from data_prep.problems import Problem
from data_prep.stories import plans
from data_prep.stories.tables import GET, LOSE, NOUNS, PEOPLE, Table
from data_prep.story_problems import StorySplits, generate, lexicon, withheld_words
from xcot_jax.languages import HIGH_RESOURCE, LANGUAGES

CODES = stories.available()
SCRIPTS = {
    "Latn": ("LATIN",),
    "Cyrl": ("CYRILLIC",),
    "Hans": ("CJK",),
    "Jpan": ("CJK", "HIRAGANA", "KATAKANA", "IDEOGRAPHIC"),
    "Thai": ("THAI",),
    "Telu": ("TELUGU",),
    "Beng": ("BENGALI",),
}
WITHHELD_NOUNS = [noun for noun in NOUNS if noun in withheld_words()]
WITHHELD_VERBS = [verb for verb in (*GET, *LOSE) if verb in withheld_words()]


@functools.cache
def corpus(seed: int = 0, high_resource: tuple[str, ...] = HIGH_RESOURCE) -> StorySplits:
    return generate(
        seed=seed,
        languages=CODES,
        high_resource=high_resource,
        high_count=900,
        low_count=700,
        heldout_count=90,
    )


def problems() -> list[Problem]:
    splits = corpus()
    return [*splits.train, *splits.validation, *splits.test]


def has(text: str, phrase: str, code: str) -> bool:
    """Whether a phrase stands in a text, as whole words where words are spaced."""
    text, phrase = text.casefold(), phrase.casefold()
    if not LANGUAGES[code].spaced:
        return phrase in text
    return regex.search(rf"(?<![\p{{L}}\p{{M}}]){phrase}(?![\p{{L}}\p{{M}}])", text) is not None


def test_there_are_enough_templates_words_and_names() -> None:
    for code in CODES:
        table = stories.table(code)
        assert set(table.templates) == set(plans.PLANS) and len(plans.PLANS) >= 12
        assert len({tuple(noun.forms.values()) for noun in table.nouns.values()}) >= 16
        verbs = (*table.get.values(), *table.lose.values())
        assert len({tuple(verb.forms.values()) for verb in verbs}) == len(verbs) >= 12
        assert len({person[""] for person in table.people.values()}) == len(PEOPLE) >= 16
    assert {len(plan.steps) for plan in plans.PLANS.values()} == {1, 2, 3}


def test_counts_and_languages_of_the_splits() -> None:
    splits = corpus()
    high = {code for code in CODES if code in HIGH_RESOURCE}
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (900, 90, 90)
    assert all(set(problem.question) == set(CODES) for problem in splits.train[:700])
    assert all(set(problem.question) == high for problem in splits.train[700:])
    assert all(set(p.question) == set(CODES) for p in (*splits.validation, *splits.test))
    assert len({problem.id for problem in problems()}) == 900 + 90 + 90


def test_same_arguments_give_the_same_corpus_in_another_process() -> None:
    code = (
        "import hashlib; from data_prep.story_problems import generate; "
        "print(hashlib.sha256(repr(generate(seed=5, languages=('en', 'ru'), high_resource=('en',), "
        "high_count=50, low_count=20, heldout_count=20)).encode()).hexdigest())"
    )
    here = generate(
        seed=5,
        languages=("en", "ru"),
        high_resource=("en",),
        high_count=50,
        low_count=20,
        heldout_count=20,
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert there.stdout.strip() == hashlib.sha256(repr(here).encode()).hexdigest()


def test_the_seed_changes_training_and_nothing_held_out() -> None:
    one, two = corpus(0), corpus(1)
    assert one.train != two.train
    assert (one.validation, one.test) == (two.validation, two.test)
    few = generate(
        seed=9,
        languages=CODES,
        high_resource=HIGH_RESOURCE,
        high_count=1,
        low_count=0,
        heldout_count=90,
    )
    assert few.test == one.test


def test_languages_agree_on_the_numbers() -> None:
    for problem in problems():
        found = {code: sorted(re.findall(r"\d+", text)) for code, text in problem.question.items()}
        assert all(numbers == found["en"] for numbers in found.values()), problem


def test_rationales_compute_the_answer_and_name_no_person() -> None:
    for problem in problems():
        steps = re.findall(r"(\d+) ([-+*/]) (\d+) = (\d+)", problem.rationale)
        assert 1 <= len(steps) <= 3
        assert len(steps) == problem.rationale.count("=")
        for left, operation, right, result in steps:
            value = eval(f"{left} {operation} {right}")
            assert value == int(result) and 2 <= value <= 30, problem
        assert steps[-1][-1] == problem.answer
        assert not any(has(problem.rationale, name, "en") for name in PEOPLE)
        assert any(has(problem.rationale, noun, "en") for noun in NOUNS)


def test_no_question_is_asked_twice_in_any_language() -> None:
    for code in CODES:
        texts = [p.question[code] for p in problems() if code in p.question]
        assert len(set(texts)) == len(texts)


def test_held_out_combinations_are_new() -> None:
    def combination(problem: Problem) -> tuple[str, ...]:
        text = re.sub("|".join(PEOPLE), "", problem.question["en"])
        return (re.sub(r"\b(s?he|box|bag|basket)(es|s)?\b", "", text, flags=re.IGNORECASE),)

    splits = corpus()
    train, validation, test = (
        {combination(problem) for problem in split}
        for split in (splits.train, splits.validation, splits.test)
    )
    assert not train & test and not train & validation and not validation & test


def test_withheld_words_are_held_out_of_all_low_resource_training() -> None:
    splits = corpus(high_resource=("en",))  # So that every other language is a low-resource one.
    for code in CODES:
        if code == "en":
            continue
        table = stories.table(code)
        nouns = [form for noun in WITHHELD_NOUNS for form in _surfaces(table, noun)]
        verbs = [form for verb in WITHHELD_VERBS for form in _surfaces(table, verb)]
        for problem in splits.train[:700]:
            text = problem.question[code]
            assert not [word for word in (*nouns, *verbs) if has(text, word, code)], text
        assert all(code not in problem.question for problem in splits.train[700:])
        for problem in (*splits.validation, *splits.test):
            text = problem.question[code]
            assert any(has(text, word, code) for word in nouns), text
            assert any(has(text, word, code) for word in verbs), text


def test_high_resource_training_shows_every_word() -> None:
    text = " ".join(problem.question["en"] for problem in corpus().train)
    assert all(has(text, word, "en") for word in (*NOUNS, *GET, *LOSE))


def _surfaces(table: Table, english: str) -> list[str]:
    if english in table.nouns:
        return [table.nouns[english][form] for form in table.noun_forms]
    verbs = table.get if english in table.get else table.lose
    return list(verbs[english].forms.values())


@pytest.mark.parametrize("code", CODES)
def test_lexicon_pairs_surface_in_one_and_the_same_question(code: str) -> None:
    asked = [p.question for p in problems() if code in p.question]
    for english, phrase in lexicon(code):
        both = [q for q in asked if has(q["en"], english, "en") and has(q[code], phrase, code)]
        assert both, (english, phrase)
        assert english == english.lower() and not re.search(r"\d", english + phrase)


@pytest.mark.parametrize("code", [code for code in CODES if code != "en"])
def test_lexicon_covers_all_words_and_seen_only_leaves_out_the_withheld(code: str) -> None:
    full, seen = lexicon(code), lexicon(code, seen_only=True)
    phrases = {english for english, _ in full}
    assert phrases >= {*NOUNS, *GET, *LOSE, "boxes", "each box holds", "how many", "now"}
    left_out = {english for english, _ in full if (english, _) not in seen}
    assert left_out >= withheld_words() and set(seen) <= set(full)
    assert all(any(word in phrase for word in withheld_words()) for phrase in left_out)
    assert not any(has(phrase, word, "en") for phrase, _ in seen for word in withheld_words())
    assert lexicon(code, seen_only=True, withheld=0.0) == full


def test_questions_are_clean_text_of_their_script() -> None:
    for problem in problems():
        for code, text in problem.question.items():
            language = LANGUAGES[code]
            assert not re.search(r"[{}\[\]]|\s\s|^\s|\s$|\s[.,!]", text), text
            assert language.spaced or not re.search(r"\s", text), text
            assert unicodedata.is_normalized("NFC", text), text
            letters = (c for c in text if unicodedata.category(c)[0] in "LM")
            assert all(unicodedata.name(c).startswith(SCRIPTS[language.script]) for c in letters)


def test_names_stand_in_the_questions() -> None:
    for problem in problems():
        for code, text in problem.question.items():
            assert any(name in text for name in problem.names), (code, text)


def test_sizes_that_cannot_be_had_are_errors() -> None:
    make = functools.partial(
        generate, seed=0, languages=("en", "sw"), high_resource=("en",), heldout_count=5
    )
    with pytest.raises(ValueError, match="low_count"):
        make(high_count=10, low_count=11)
    with pytest.raises(ValueError, match="no words are left"):
        make(high_count=10, low_count=5, withheld=1.0)
    with pytest.raises(ValueError, match="not a share"):
        make(high_count=10, low_count=5, withheld=1.5)
    assert make(high_count=10, low_count=0, withheld=1.0).test
    assert make(high_count=10, low_count=5, withheld=0.0).test
