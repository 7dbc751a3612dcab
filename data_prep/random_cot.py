"""Random-CoT (xCoT, Algorithm 1): the question in a randomly drawn language, then the answer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np

from xcot_jax import prompts
from xcot_jax.data.records import View

# (question, the language it is in, the language to say it in) -> the question in that language.
Restate = Callable[[Mapping[str, str], str, str], str]


class NotRestatedError(Exception):
    """A question could not be restated; the message says why, in a few words."""


def parallel(question: Mapping[str, str], asked_in: str, into: str) -> str:
    """Restates a question by its translation in the problem itself."""
    return question[into]


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
    *,
    restate: Restate = parallel,
    loss: bool = True,
) -> View:
    """The view that is asked in one language and must restate the question in another.

    Args:
      question: language code -> question.
      asked_in: language of the prompt.
      allowed: languages to restate it in; one of those available is drawn uniformly.
      style: the prompt template.
      rng: all randomness.
      restate: gives the question in the language drawn.
      loss: whether the model is trained to restate the question, or finds it in its prompt.

    Raises:
      ValueError: if there is no other language.
      NotRestatedError: if `restate` cannot.
    """
    others = intermediate_languages(question, asked_in, allowed)
    if not others:
        raise ValueError(f"a question in {asked_in} alone has no language to be restated in")
    into = others[int(rng.integers(len(others)))]
    prompt = prompts.translate_prompt(style, question[asked_in], into)
    preamble = prompts.preamble(style, restate(question, asked_in, into))
    if not loss:
        prompt, preamble = prompt + preamble, ""
    return View(asked_in, prompt, preamble)
