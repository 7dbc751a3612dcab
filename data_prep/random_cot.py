"""Random-CoT (xCoT, Algorithm 1): the question in a randomly drawn language, then the answer."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from xcot_jax import prompts
from xcot_jax.data.records import View


def intermediate_languages(
    question: Mapping[str, str], asked_in: str, allowed: Collection[str]
) -> list[str]:
    """The languages a question can be restated in: allowed, available, and not its own."""
    return [code for code in allowed if code in question and code != asked_in]


def random_cot_view(
    question: Mapping[str, str],
    asked_in: str,
    allowed: Collection[str],
    style: prompts.Template,
    rng: np.random.Generator,
) -> View:
    """The view that is asked in one language and must restate the question in another.

    Args:
      question: language code -> question.
      asked_in: language of the prompt.
      allowed: languages to restate it in; one of those available is drawn uniformly.
      style: the prompt template.
      rng: all randomness.

    Raises:
      ValueError: if there is no other language.
    """
    others = intermediate_languages(question, asked_in, allowed)
    if not others:
        raise ValueError(f"a question in {asked_in} alone has no language to be restated in")
    into = others[int(rng.integers(len(others)))]
    return View(
        language=asked_in,
        prompt=prompts.translate_prompt(style, question[asked_in], into),
        preamble=prompts.preamble(style, question[into]),
    )
