"""Names are what translations leave as it is."""

from __future__ import annotations

import numpy as np

from data_prep.code_switch import code_switch
from data_prep.lexicons.lexicon import Entry, build_lexicon
from data_prep.names import all_names, named, shared_names
from data_prep.problems import Problem

QUESTION = {
    "en": "Bill has 3 apples. Each apple costs a bill of $2. What does Rose pay?",
    "es": "Bill tiene 3 manzanas. Cada manzana cuesta $2. ¿Cuánto paga Rose?",
    "ru": "У Билла 3 яблока. Сколько платит Роуз?",
    "zh": "比尔有3个苹果。",
}


def test_words_that_stay_are_names():
    assert shared_names(QUESTION) == ("Bill", "Rose")
    assert shared_names({"en": QUESTION["en"]}) == ()
    assert shared_names({code: QUESTION[code] for code in ("en", "ru", "zh")}) == ()


def test_names_are_never_switched_even_where_they_begin_a_sentence():
    problem = named(Problem("1", QUESTION, "r", "1"))
    lexicon = build_lexicon(
        [Entry("en", "es", "bill", "factura"), Entry("en", "es", "rose", "rosa")]
    )
    text, switches, _ = code_switch(
        QUESTION["en"],
        lexicon,
        source="en",
        target="es",
        rate=1.0,
        rng=np.random.default_rng(0),
        protected=problem.names,
    )
    assert [switch.source for switch in switches] == ["bill"]
    assert text.startswith("Bill has")


def test_names_that_a_problem_lists_are_kept():
    listed = Problem("1", QUESTION, "r", "1", names=("Ann",))
    assert named(listed) is listed
    assert all_names([listed, named(Problem("2", QUESTION, "r", "1"))]) == {"Ann", "Rose"}
