"""Accuracies with their uncertainty: per language, by resource level, as JSON and as a table."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

_Z95 = 1.959963984540054


@dataclasses.dataclass(frozen=True)
class LanguageScore:
    """How one language went. All but `n` are shares between 0 and 1.

    Attributes:
      accuracy: questions answered with the gold number.
      low: lower end of accuracy's 95% Wilson interval.
      high: its upper end.
      n: questions asked.
      truncated: generations cut off before the model ended them.
      answered: generations in which a number was found.
    """

    accuracy: float
    low: float
    high: float
    n: int
    truncated: float
    answered: float


@dataclasses.dataclass(frozen=True)
class BenchmarkResult:
    """One model's scores on one benchmark.

    Attributes:
      name: name of the method; runs that differ by seed share it.
      seed: seed of the run.
      step: training step of the evaluated weights.
      benchmark: a row of `xcot_jax.evaluation.benchmarks.BENCHMARKS`.
      languages: language code -> its score.
      high_mean: mean accuracy of the high-resource languages; None if none was asked.
      low_mean: the same for the low-resource languages.
      gap: high_mean - low_mean; None if either side is empty.
    """

    name: str
    seed: int
    step: int
    benchmark: str
    languages: Mapping[str, LanguageScore]
    high_mean: float | None
    low_mean: float | None
    gap: float | None

    def to_json(self) -> dict[str, Any]:
        """The result as what `json.dumps` takes."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> BenchmarkResult:
        """The result that `to_json` made this of.

        Raises:
          ValueError: if a field is missing or unknown, naming it.
        """
        languages = data.get("languages")
        if not isinstance(languages, Mapping):
            raise ValueError("a benchmark result without languages; evaluate the run again")
        scores = {c: LanguageScore(**_fields(LanguageScore, v)) for c, v in languages.items()}
        return cls(**{**_fields(cls, data), "languages": scores})


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of text: its first column names the row, the others hold numbers."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def text(self) -> str:
        """The table for a terminal, in aligned columns."""
        widths = [max(map(len, column)) for column in zip(self.header, *self.rows, strict=True)]
        lines = [
            "  ".join(
                cell.rjust(width) if column else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in (self.header, *self.rows)
        ]
        return "\n".join([lines[0], "-" * (sum(widths) + 2 * len(widths) - 2), *lines[1:]])


def wilson(successes: float, n: int) -> tuple[float, float]:
    """The 95% Wilson score interval of a share (Wilson 1927); of nothing asked, (0, 1).

    Raises:
      ValueError: unless 0 <= successes <= n.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} of {n} is not a share")
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    centre = share + _Z95**2 / (2 * n)
    spread = _Z95 * math.sqrt(share * (1 - share) / n + _Z95**2 / (4 * n * n))
    scale = 1 + _Z95**2 / n
    low = 0.0 if successes == 0 else (centre - spread) / scale
    high = 1.0 if successes == n else (centre + spread) / scale
    return low, high


def language_score(
    correct: Sequence[bool], truncated: Sequence[bool], answered: Sequence[bool]
) -> LanguageScore:
    """The score of one language from what happened to each of its questions.

    Raises:
      ValueError: if there are no questions, or the sequences differ in length.
    """
    n = len(correct)
    if n == 0 or {len(truncated), len(answered)} != {n}:
        raise ValueError(f"{n} questions, {len(truncated)} and {len(answered)} outcomes")
    low, high = wilson(sum(correct), n)
    return LanguageScore(sum(correct) / n, low, high, n, sum(truncated) / n, sum(answered) / n)


def summarise(
    name: str,
    seed: int,
    step: int,
    benchmark: str,
    languages: Mapping[str, LanguageScore],
    high_resource: Collection[str],
) -> BenchmarkResult:
    """The result of these scores, with the means of the high-resource languages and of the rest."""
    high = mean([score.accuracy for code, score in languages.items() if code in high_resource])
    low = mean([score.accuracy for code, score in languages.items() if code not in high_resource])
    gap = None if high is None or low is None else high - low
    return BenchmarkResult(name, seed, step, benchmark, dict(languages), high, low, gap)


def mean(values: Sequence[float]) -> float | None:
    """The mean; None of nothing."""
    return math.fsum(values) / len(values) if values else None


def points(share: float | None, signed: bool = False) -> str:
    """A share in points, to a tenth ("81.2", signed "+3.0"); a dash for None."""
    return "–" if share is None else f"{100 * share:+.1f}" if signed else f"{100 * share:.1f}"


def result_table(result: BenchmarkResult) -> Table:
    """One result in full: accuracy, its interval, and what else was counted, by language."""
    scores = result.languages.values()
    means = (result.high_mean, result.low_mean, result.gap)
    blank = ("",) * len(means)
    return Table(
        (f"{result.name}, {result.benchmark}", *result.languages, "high", "low", "gap"),
        (
            ("accuracy", *(points(s.accuracy) for s in scores), *map(points, means)),
            ("  95% from", *(points(s.low) for s in scores), *blank),
            ("  95% to", *(points(s.high) for s in scores), *blank),
            ("answered", *(points(s.answered) for s in scores), *blank),
            ("truncated", *(points(s.truncated) for s in scores), *blank),
            ("questions", *(str(s.n) for s in scores), *blank),
        ),
    )


def _fields(cls: type, data: Mapping[str, Any]) -> dict[str, Any]:
    """The mapping, if its keys are exactly the dataclass's fields."""
    names = {field.name for field in dataclasses.fields(cls)}
    if wrong := sorted(names ^ set(data)):
        raise ValueError(
            f"{cls.__name__}: missing or unknown {', '.join(wrong)}; evaluate the run again"
        )
    return dict(data)
