"""Induced lexicons have the right translations and never a number or a name."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from data_prep.code_switch import NUMBER_WORDS
from data_prep.lexicons.bitext import UNTRANSLATED, untranslated
from data_prep.lexicons.induction import induce
from data_prep.lexicons.lexicon import build_lexicon
from data_prep.problems import Problem
from tests.benchmarks import lexicon as benchmark
from xcot_jax.settings import InductionSettings

SETTINGS = InductionSettings(min_count=3, min_score=0.2)
NAMES = ("Anna", "Tom", "Zoe")
NOUNS = {"apples": "Äpfel", "boxes": "Kisten", "pens": "Stifte", "hotels": "Hotels"}
COLOURS = {"red": "rote", "big": "große", "new": "neue"}
VERBS = {"buys": "kauft", "has": "hat", "sells": "verkauft", "needs": "braucht"}
NUMBERS = {"3": "3", "two": "zwei", "12": "zwölf", "five": "5"}


def problems(count=150, seed=0):
    """German and English sentences of the same words; the German order is another one."""
    rng = np.random.default_rng(seed)

    def draw(table):
        keys = list(table)
        key = keys[rng.integers(len(keys))]
        return key, table[key] if isinstance(table, dict) else key

    made = []
    for number in range(count):
        ours, theirs = [], []
        for _ in range(2):
            (name, _), (verb, tut), (n, zahl) = draw(NAMES), draw(VERBS), draw(NUMBERS)
            (colour, farbe), (noun, ding) = draw(COLOURS), draw(NOUNS)
            ours.append(f"{name} {verb} {n} {colour} {noun} today.")
            theirs.append(f"Heute {tut} {name} {zahl} {farbe} {ding}.")
        made.append(Problem(str(number), {"en": " ".join(ours), "de": " ".join(theirs)}, "", "1"))
    return made


@pytest.fixture(scope="module")
def german():
    return induce(problems(), "en", "de", SETTINGS)


def first(induced):
    return benchmark.first_translations(induced.entries)


def test_words_and_phrases_get_their_translations(german):
    found = first(german)
    for english, other in {**COLOURS, **VERBS, **NOUNS, "today": "heute"}.items():
        if english != "hotels":
            assert found[english] == other, english  # German nouns keep their capitals.
    assert found["red apples"] == "rote Äpfel"


def test_no_phrase_has_a_number_or_a_name(german):
    numbers = NUMBER_WORDS["en"] | {"zwei", "zwölf"}
    for entry in german.entries:
        for text in (entry.phrase, entry.translation):
            assert not any(c.isdigit() for c in text)
            assert numbers.isdisjoint(text.lower().split())
            assert {"anna", "tom", "zoe"}.isdisjoint(text.lower().split())
    assert not build_lexicon(german.entries).left_out


def test_spelt_numbers_of_other_sources_are_left_alone():
    found = first(induce(problems(), "de", "en", SETTINGS))
    assert found["kisten"] == "boxes"
    assert not [phrase for phrase in found if "zwei" in phrase or "zwölf" in phrase]


def test_phrase_that_stays_as_it_is_is_left_out(german):
    assert "hotels" not in first(german)
    assert german.left_out["induction: phrase is the same in both languages"] >= 1
    assert first(german)["red hotels"] == "rote Hotels"


def test_best_comes_first_and_settings_bound_the_rest(german):
    for _, entries in itertools.groupby(german.entries, key=lambda entry: entry.phrase):
        scores = [entry.score for entry in entries]
        assert scores == sorted(scores, reverse=True)
        assert 0.2 <= scores[-1] <= scores[0] <= 1
    one = induce(problems(), "en", "de", dataclasses.replace(SETTINGS, candidates=1))
    assert len(one.entries) == len(first(german))
    words = induce(problems(), "en", "de", dataclasses.replace(SETTINGS, longest_phrase=1))
    assert all(" " not in entry.phrase + entry.translation for entry in words.entries)
    assert not induce(problems(), "en", "de", dataclasses.replace(SETTINGS, min_count=999)).entries


def test_same_problems_give_the_same_lexicon(german):
    assert induce(problems(), "en", "de", SETTINGS) == german


def test_untranslated_questions_are_left_out_and_counted(german):
    copies = [
        Problem(f"copy {p.id}", {**p.question, "de": p.question["en"]}, "", "1")
        for p in problems(40, seed=1)
    ]
    english_only = [Problem("en", {"en": "Tom has two boxes."}, "", "1")]
    induced = induce([*copies, *problems(), *english_only], "en", "de", SETTINGS)
    assert induced.entries == german.entries
    assert induced.left_out == {**german.left_out, UNTRANSLATED: 40}
    assert not untranslated("Tom, Anna and Zoe eat 3", "Tom, Anna und Zoe essen 3", "en", "de")


def test_problems_are_capped_evenly():
    every = problems(90)
    capped = induce(every, "en", "de", dataclasses.replace(SETTINGS, problems=30))
    assert capped == induce(every[::3], "en", "de", SETTINGS)


def test_few_and_short_problems_are_enough():
    settings = InductionSettings(min_count=1, min_score=0.0, longest_phrase=9)
    one = [Problem("1", {"en": "red apples.", "de": "rote Äpfel."}, "", "1")]
    assert first(induce(one, "en", "de", settings))["apples"] == "Äpfel"
    empty = [Problem("1", {"en": "?", "de": "!"}, "", "1")]
    assert not induce(empty, "en", "de", settings).entries


def test_translation_never_takes_in_a_number_from_beside():
    """ "Times" is not "Dreifache" because a three stands before it; "Dreieck" is a triangle."""
    texts = [
        Problem(
            f"{noun} {colour} {number}",
            {
                "en": f"Now 3 {colour} {noun} and 3 times {number} triangles.",
                "de": f"Jetzt 3 {farbe} {ding} und das Dreifache von {number} Dreiecken."
                if number == 3
                else f"Jetzt 3 {farbe} {ding} und dreimal {number} Dreiecken.",
            },
            "",
            "1",
        )
        for (noun, ding), (colour, farbe), number in itertools.product(
            NOUNS.items(), COLOURS.items(), (3, 9)
        )
    ]
    more = [
        Problem(f"t {n}", {"en": f"{n} triangles.", "de": f"{n} Dreiecken."}, "", "1")
        for n in range(4, 60)
    ]
    induced = induce([*texts, *more], "en", "de", dataclasses.replace(SETTINGS, min_score=0.0))
    assert first(induced)["boxes"] == "Kisten"
    assert first(induced)["triangles"] == "Dreiecken"
    assert not [e for e in induced.entries if "Dreifache" in e.translation]
    assert induced.left_out["induction: phrase pair whose translation adds a number"] >= 1


def test_parts_of_written_words_are_translated_but_not_switched():
    """ "l'heure" holds "heure"; "Tom's dog" is no place for a phrase that begins with "s"."""
    things = {"hour": "heure", "tree": "arbre", "money": "argent", "school": "école"}
    texts = [
        Problem(f"{a} {b}", {"en": f"Sam’s {a} and {b}.", "fr": f"L'{x} et l'{y}."}, "", "1")
        for (a, x), (b, y) in itertools.permutations(things.items(), 2)
    ]
    found = first(induce(texts, "en", "fr", SETTINGS))
    assert {word: found[word] for word in things} == things
    back = first(induce(texts, "fr", "en", SETTINGS))
    assert not set(things.values()) & set(back)
    assert back["l'arbre"] == "tree"


@pytest.fixture(scope="module")
def real_problems():
    if not benchmark.CORPUS.is_file():
        pytest.skip("the parallel GSM8K problems are not beside the repository")
    return benchmark.read_problems()


@pytest.mark.parametrize("target", ["es", "sw"])
def test_most_first_translations_of_real_problems_are_right(real_problems, target):
    judged = benchmark.read_judgements()[target]
    assert len(judged) == benchmark.SAMPLE
    induced = induce(real_problems, "en", target, InductionSettings())
    assert benchmark.accuracy(first(induced), judged) >= benchmark.TARGETS[target]
