"""Accuracies with their uncertainty: per language, by resource level, as JSON and as a table."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from xcot_jax.evaluation.agreement import Agreement
from xcot_jax.evaluation.answers import DIRECT
from xcot_jax.languages import CODES

_Z95 = 1.959963984540054

TEN = tuple(code for code in CODES if code != "te")
"""The languages of MSVAMP (and of MathOctopus); the eleven are those of MGSM."""


@dataclasses.dataclass(frozen=True)
class LanguageScore:
    """How one language went. All but `n` and `chrf` are shares between 0 and 1.

    Attributes:
      accuracy: questions answered with the gold number, by the flexible reading.
      low: lower end of accuracy's 95% Wilson interval.
      high: its upper end.
      n: questions asked.
      strict: questions whose marked answer is the gold number.
      truncated: generations cut off before the model ended them.
      answered: generations in which a number was found.
      right_language: answers in the language asked for, of those long enough to tell; None if none
        is.
      chrf: chrF, 0 to 100, of what the model said the questions to be in other languages against
        the benchmark's own; None if it said none.
    """

    accuracy: float
    low: float
    high: float
    n: int
    strict: float
    truncated: float
    answered: float
    right_language: float | None
    chrf: float | None


@dataclasses.dataclass(frozen=True)
class Averages:
    """Means of accuracy over languages, each weighing the same.

    Attributes:
      high_mean: over the high-resource languages; None if none was asked.
      low_mean: over the low-resource languages.
      gap: high_mean - low_mean; None if either side is empty.
      avg_10: over the ten languages of MSVAMP; None unless all were asked.
      avg_11: over the eleven of MGSM.
    """

    high_mean: float | None
    low_mean: float | None
    gap: float | None
    avg_10: float | None
    avg_11: float | None


@dataclasses.dataclass(frozen=True)
class BenchmarkResult:
    """One model's scores on one benchmark, asked in one mode.

    Attributes:
      name: name of the method; runs that differ by seed share it.
      seed: seed of the run.
      step: training step of the evaluated weights.
      benchmark: a row of `xcot_jax.evaluation.benchmarks.BENCHMARKS`.
      mode: how it was asked.
      languages: language code -> its score.
      high_mean, low_mean, gap, avg_10, avg_11: see `Averages`; of accuracy.
      strict: averages of the strict accuracy.
      agreement: across languages on the same problem; None if they share none.
    """

    name: str
    seed: int
    step: int
    benchmark: str
    mode: str
    languages: Mapping[str, LanguageScore]
    high_mean: float | None
    low_mean: float | None
    gap: float | None
    avg_10: float | None
    avg_11: float | None
    strict: Averages
    agreement: Agreement | None

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
        fields = _fields(cls, data)
        said = fields["agreement"]
        fields |= {
            "languages": {
                c: LanguageScore(**_fields(LanguageScore, v)) for c, v in languages.items()
            },
            "strict": Averages(**_fields(Averages, fields["strict"])),
            "agreement": None if said is None else Agreement(**_fields(Agreement, said)),
        }
        return cls(**fields)


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
    *,
    correct: Sequence[bool],
    strict_correct: Sequence[bool],
    truncated: Sequence[bool],
    answered: Sequence[bool],
    right_language: float | None = None,
    chrf: float | None = None,
) -> LanguageScore:
    """The score of one language from what happened to each of its questions.

    Raises:
      ValueError: if there are no questions, or the sequences differ in length.
    """
    n = len(correct)
    lengths = [len(strict_correct), len(truncated), len(answered)]
    if n == 0 or set(lengths) != {n}:
        raise ValueError(f"{n} questions, {lengths} outcomes")
    low, high = wilson(sum(correct), n)
    return LanguageScore(
        accuracy=sum(correct) / n,
        low=low,
        high=high,
        n=n,
        strict=sum(strict_correct) / n,
        truncated=sum(truncated) / n,
        answered=sum(answered) / n,
        right_language=right_language,
        chrf=chrf,
    )


def averages(accuracies: Mapping[str, float], high_resource: Collection[str]) -> Averages:
    """The means of accuracies by language code."""
    high = mean([share for code, share in accuracies.items() if code in high_resource])
    low = mean([share for code, share in accuracies.items() if code not in high_resource])
    return Averages(
        high_mean=high,
        low_mean=low,
        gap=None if high is None or low is None else high - low,
        avg_10=_mean_of(accuracies, TEN),
        avg_11=_mean_of(accuracies, CODES),
    )


def summarise(
    name: str,
    seed: int,
    step: int,
    benchmark: str,
    languages: Mapping[str, LanguageScore],
    high_resource: Collection[str],
    *,
    mode: str = DIRECT,
    agreement: Agreement | None = None,
) -> BenchmarkResult:
    """The result of these scores, with their means."""
    flexible = averages({code: s.accuracy for code, s in languages.items()}, high_resource)
    return BenchmarkResult(
        name=name,
        seed=seed,
        step=step,
        benchmark=benchmark,
        mode=mode,
        languages=dict(languages),
        **dataclasses.asdict(flexible),
        strict=averages({code: s.strict for code, s in languages.items()}, high_resource),
        agreement=agreement,
    )


def mean(values: Sequence[float]) -> float | None:
    """The mean; None of nothing."""
    return math.fsum(values) / len(values) if values else None


def points(share: float | None, signed: bool = False) -> str:
    """A share in points, to a tenth ("81.2", signed "+3.0"); a dash for None."""
    return "–" if share is None else f"{100 * share:+.1f}" if signed else f"{100 * share:.1f}"


def mean_names(results: Sequence[BenchmarkResult | Averages]) -> tuple[str, ...]:
    """The means a table shows: high, low and gap always, the others where a result has them."""
    names = ("high_mean", "low_mean", "gap")
    more = [
        name for name in ("avg_10", "avg_11") if any(getattr(r, name) is not None for r in results)
    ]
    return (*names, *more)


MEAN_LABELS = {
    "high_mean": "high",
    "low_mean": "low",
    "gap": "gap",
    "avg_10": "avg 10",
    "avg_11": "avg 11",
}


def result_table(result: BenchmarkResult) -> Table:
    """One result in full: accuracy, its interval, and what else was counted, by language."""
    scores = result.languages.values()
    names = mean_names([result])
    title = result.benchmark if result.mode == DIRECT else f"{result.benchmark} {result.mode}"

    def row(
        label: str,
        of: Callable[[LanguageScore], str],
        means: Averages | BenchmarkResult | None = None,
    ) -> tuple[str, ...]:
        cells = [points(getattr(means, name)) if means else "" for name in names]
        return (label, *map(of, scores), *cells)

    rows = [
        row("accuracy", lambda s: points(s.accuracy), result),
        row("  95% from", lambda s: points(s.low)),
        row("  95% to", lambda s: points(s.high)),
        row("strict", lambda s: points(s.strict), result.strict),
        row("answered", lambda s: points(s.answered)),
        row("truncated", lambda s: points(s.truncated)),
        row("right language", lambda s: points(s.right_language)),
        row("chrF", lambda s: "–" if s.chrf is None else f"{s.chrf:.1f}"),
        row("questions", lambda s: str(s.n)),
    ]
    if all(score.chrf is None for score in scores):
        rows = [cells for cells in rows if cells[0] != "chrF"]
    labels = [MEAN_LABELS[name] for name in names]
    return Table((f"{result.name}, {title}", *result.languages, *labels), tuple(rows))


def _mean_of(accuracies: Mapping[str, float], codes: Sequence[str]) -> float | None:
    """The mean over these languages; None unless all are there."""
    if any(code not in accuracies for code in codes):
        return None
    return mean([accuracies[code] for code in codes])


def _fields(cls: type, data: Mapping[str, Any]) -> dict[str, Any]:
    """The mapping, if its keys are exactly the dataclass's fields."""
    names = {field.name for field in dataclasses.fields(cls)}
    if wrong := sorted(names ^ set(data)):
        raise ValueError(
            f"{cls.__name__}: missing or unknown {', '.join(wrong)}; evaluate the run again"
        )
    return dict(data)
