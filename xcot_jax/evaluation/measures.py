"""From the answers to a benchmark to its result: every number a run is judged by."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from xcot_jax.evaluation import language_id, scoring
from xcot_jax.evaluation.agreement import agreement
from xcot_jax.evaluation.answers import DIRECT, Answer
from xcot_jax.evaluation.scoring import BenchmarkResult, LanguageScore
from xcot_jax.evaluation.translation import References, references, translation_chrf


def measure(
    answers: Sequence[Answer],
    *,
    name: str,
    seed: int,
    step: int,
    benchmark: str,
    high_resource: Collection[str],
    mode: str = DIRECT,
    native: bool = False,
) -> BenchmarkResult:
    """The scores of one model's answers to one benchmark in one mode.

    Args:
      answers: to every question, in any order; languages keep the order they first appear in.
      name: of the model's method.
      seed: of its run.
      step: training step of its weights.
      benchmark: a row of `xcot_jax.evaluation.benchmarks.BENCHMARKS`.
      high_resource: codes of the high-resource languages.
      mode: how the questions were asked.
      native: whether answers were asked in the question's language, rather than in English.
    """
    by_language: dict[str, list[Answer]] = {}
    for answer in answers:
        by_language.setdefault(answer.language, []).append(answer)
    parallel = references(answers)
    return scoring.summarise(
        name,
        seed,
        step,
        benchmark,
        {code: _score(asked, parallel, native) for code, asked in by_language.items()},
        high_resource,
        mode=mode,
        agreement=agreement(answers),
    )


def _score(asked: Sequence[Answer], parallel: References, native: bool) -> LanguageScore:
    """The score of one language's answers."""
    return scoring.language_score(
        correct=[answer.correct for answer in asked],
        strict_correct=[answer.strict_correct for answer in asked],
        truncated=[answer.truncated for answer in asked],
        answered=[answer.extracted is not None for answer in asked],
        right_language=language_id.share_in(
            (_reasoning(answer), answer.language if native else "en") for answer in asked
        ),
        chrf=translation_chrf(asked, parallel),
    )


def _reasoning(answer: Answer) -> str:
    """The answer's text without a translation of the question that stands in it."""
    return answer.text.replace(answer.translation, "\n") if answer.translation else answer.text
