"""Runs side by side: grouped into methods, averaged over seeds, and as tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from xcot_jax.evaluation.answers import DIRECT
from xcot_jax.evaluation.runs import Run, by_method, modes_of
from xcot_jax.evaluation.scoring import (
    MEAN_LABELS,
    BenchmarkResult,
    LanguageScore,
    Table,
    mean,
    mean_names,
    points,
    wilson,
)
from xcot_jax.languages import ordered


@dataclasses.dataclass(frozen=True)
class Spread:
    """One share over a method's seeds.

    Attributes:
      mean: mean over the seeds.
      low: lower end of the 95% Wilson interval of all seeds' answers together; None for a mean over
        languages, which has no such interval.
      high: its upper end.
      seeds: each seed's own value.
    """

    mean: float
    low: float | None
    high: float | None
    seeds: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class MethodScore:
    """A method on a benchmark in one mode: its runs of different seeds, averaged.

    Attributes:
      name: name of the method, with the mode where it is not the direct one.
      seeds: seeds of its runs.
      languages: language code -> accuracy.
      means: average, a field of `scoring.Averages` -> its value; only those that there are.
      results: of its runs, in the order of the seeds.
    """

    name: str
    seeds: tuple[int, ...]
    languages: Mapping[str, Spread]
    means: Mapping[str, Spread]
    results: tuple[BenchmarkResult, ...]


def method_label(name: str, mode: str) -> str:
    """What a method in a mode is called."""
    return name if mode == DIRECT else f"{name}, {mode}"


def methods_on(runs: Sequence[Run], benchmark: str) -> tuple[MethodScore, ...]:
    """Every method in every mode that was scored on the benchmark, averaged over its seeds."""
    scores = []
    for name, members in by_method(runs).items():
        for mode in modes_of(members, benchmark):
            scored = [run for run in members if (benchmark, mode) in run.results]
            results = tuple(run.results[benchmark, mode] for run in scored)
            codes = ordered(code for result in results for code in result.languages)
            means = {n: _spread([getattr(r, n) for r in results]) for n in MEAN_LABELS}
            scores.append(
                MethodScore(
                    name=method_label(name, mode),
                    seeds=tuple(run.seed for run in scored),
                    languages={code: _language_spread(results, code) for code in codes},
                    means={name: spread for name, spread in means.items() if spread},
                    results=results,
                )
            )
    return tuple(scores)


def method_table(methods: Sequence[MethodScore]) -> Table:
    """A row a method (mean over its seeds), then its difference to the first method, in points."""
    codes = ordered(code for method in methods for code in method.languages)
    names = mean_names([result for method in methods for result in method.results])

    def values(method: MethodScore) -> list[float | None]:
        spreads = [method.languages.get(code) for code in codes]
        spreads += [method.means.get(name) for name in names]
        return [None if spread is None else spread.mean for spread in spreads]

    first, *others = methods
    rows = [(m.name, str(len(m.seeds)), *map(points, values(m))) for m in methods]
    for other in others:
        pairs = zip(values(other), values(first), strict=True)
        differences = [None if a is None or b is None else a - b for a, b in pairs]
        cells = (points(difference, signed=True) for difference in differences)
        rows.append((f"{other.name} − {first.name}", "", *cells))
    return Table(("method", "seeds", *codes, *(MEAN_LABELS[n] for n in names)), tuple(rows))


def run_table(methods: Sequence[MethodScore]) -> Table:
    """A row a run: seed, step, and accuracy in points."""
    results = [(method.name, result) for method in methods for result in method.results]
    codes = ordered(code for _, result in results for code in result.languages)
    names = mean_names([result for _, result in results])
    rows = []
    for name, result in results:
        accuracies = [
            result.languages[code].accuracy if code in result.languages else None for code in codes
        ]
        cells = map(points, (*accuracies, *(getattr(result, n) for n in names)))
        rows.append((name, str(result.seed), str(result.step), *cells))
    labels = (MEAN_LABELS[name] for name in names)
    return Table(("run", "seed", "step", *codes, *labels), tuple(rows))


def quality_table(methods: Sequence[MethodScore]) -> Table:
    """A row a method: what was counted beside accuracy, averaged over languages and seeds."""
    rows = []
    for method in methods:
        strict = [_spread([getattr(r.strict, n) for r in method.results]) for n in _STRICT]
        agreed = [r.agreement for r in method.results if r.agreement is not None]
        rows.append(
            (
                method.name,
                *(points(None if spread is None else spread.mean) for spread in strict),
                *(_over_languages(method, of) for of in _COUNTED.values()),
                points(mean([one.pairwise for one in agreed])),
                points(mean([one.unanimous for one in agreed])),
            )
        )
    header = ("method", "strict high", "strict low", *_COUNTED, "agree in pairs", "all agree")
    return Table(header, tuple(rows))


_STRICT = ("high_mean", "low_mean")
_COUNTED: dict[str, Callable[[LanguageScore], float | None]] = {
    "answered": lambda score: score.answered,
    "truncated": lambda score: score.truncated,
    "right language": lambda score: score.right_language,
    "chrF": lambda score: None if score.chrf is None else score.chrf / 100,
}


def _over_languages(method: MethodScore, of: Callable[[LanguageScore], float | None]) -> str:
    """Something counted, averaged over the languages of all runs that have it."""
    values = [of(score) for result in method.results for score in result.languages.values()]
    return points(mean([value for value in values if value is not None]))


def _spread(values: Sequence[float | None]) -> Spread | None:
    """The mean over the seeds that have a value."""
    there = tuple(value for value in values if value is not None)
    average = mean(there)
    return None if average is None else Spread(average, None, None, there)


def _language_spread(results: Sequence[BenchmarkResult], code: str) -> Spread:
    """A language's accuracy over the seeds that were asked in it, with their pooled interval."""
    scores = [result.languages[code] for result in results if code in result.languages]
    asked = sum(score.n for score in scores)
    correct = sum(score.accuracy * score.n for score in scores)
    low, high = wilson(min(correct, asked), asked)
    accuracies = tuple(score.accuracy for score in scores)
    return Spread(sum(accuracies) / len(accuracies), low, high, accuracies)
