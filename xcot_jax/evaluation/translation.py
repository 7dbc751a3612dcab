"""How well a model says a question in another language: chrF against the benchmark's own words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from xcot_jax.evaluation.answers import Answer

References = dict[tuple[str, str], str]
"""(problem, language code) -> the question in that language."""


def references(answers: Iterable[Answer]) -> References:
    """The benchmark's own questions, as asked."""
    return {(answer.id, answer.language): answer.question for answer in answers}


def translation_chrf(answers: Sequence[Answer], parallel: References) -> float | None:
    """Corpus chrF (Popović 2015; sacrebleu's chrF2) of the answers' translations, from 0 to 100.

    An empty translation counts, as one that shares nothing with its reference.

    Args:
      answers: those without a translation, or into a language the benchmark was not asked in, are
        left out.
      parallel: see `references`.

    Returns:
      the score; None if no translation has a reference.
    """
    pairs = [
        (answer.translation, parallel[answer.id, answer.translation_language])
        for answer in answers
        if answer.translation is not None
        and answer.translation_language is not None
        and (answer.id, answer.translation_language) in parallel
    ]
    if not pairs:
        return None
    from sacrebleu.metrics import CHRF

    said, meant = zip(*pairs, strict=True)
    return float(CHRF().corpus_score(said, [meant]).score)
