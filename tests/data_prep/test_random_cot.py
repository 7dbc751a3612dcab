"""Random-CoT draws its intermediate language uniformly, and never the question's own."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from data_prep.random_cot import intermediate_languages, random_cot_view
from xcot_jax import prompts

QUESTION = {"en": "How many?", "de": "Wie viele?", "sw": "Ngapi?", "zh": "多少？"}


@pytest.mark.parametrize("name", prompts.TEMPLATES)
def test_view_asks_for_the_language_it_says(name):
    style = prompts.TEMPLATES[name]
    view = random_cot_view(QUESTION, "sw", ("sw", "zh"), style, np.random.default_rng(0))
    assert view.language == "sw"
    assert view.prompt == prompts.translate_prompt(style, "Ngapi?", "zh")
    assert "Chinese" in view.prompt
    assert view.preamble == prompts.preamble(style, "多少？")
    assert view.prompt.endswith("\n")
    assert view.preamble.endswith("\n")


def test_languages_are_drawn_uniformly():
    rng = np.random.default_rng(1)
    style = prompts.template("question")
    drawn = Counter(
        random_cot_view(QUESTION, "de", tuple(QUESTION), style, rng).preamble for _ in range(6_000)
    )
    expected = {prompts.preamble(style, QUESTION[code]) for code in ("en", "sw", "zh")}
    assert set(drawn) == expected
    assert all(count == pytest.approx(2_000, abs=200) for count in drawn.values())


def test_without_another_language_there_is_none_to_draw():
    assert intermediate_languages(QUESTION, "de", ("de", "th")) == []
    with pytest.raises(ValueError, match="question in de alone"):
        random_cot_view(
            QUESTION, "de", ("de",), prompts.template("question"), np.random.default_rng(0)
        )
