"""Paired comparisons of the runs of a report, and their tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from xcot_jax.evaluation.answers import DIRECT
from xcot_jax.evaluation.comparison import method_label
from xcot_jax.evaluation.paired import (
    Comparison,
    Difference,
    compare,
    mean_differences,
    outcomes,
    shares,
)
from xcot_jax.evaluation.runs import Run, by_method, modes_of
from xcot_jax.evaluation.scoring import MEAN_LABELS, Table, points
from xcot_jax.languages import ordered

LEVELS = {0.001: "***", 0.01: "**", 0.05: "*"}
"""Below these p values a difference is marked so."""


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two sets of answers to the same questions, compared.

    Attributes:
      benchmark: both are of.
      model: what is judged.
      baseline: what it is judged against.
      seeds: of the two runs.
      comparison: of the two.
    """

    benchmark: str
    model: str
    baseline: str
    seeds: tuple[int, int]
    comparison: Comparison

    @property
    def label(self) -> str:
        """What the pair is called in a table."""
        ours, theirs = self.seeds
        seeds = f"seed {ours}" if ours == theirs else f"seeds {ours} − {theirs}"
        return f"{self.model} − {self.baseline} ({seeds})"

    def to_json(self) -> dict[str, Any]:
        """The pair as what `json.dumps` takes."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Pooled:
    """Two methods compared by all their runs together, each question by its share of right answers.

    Attributes:
      benchmark: both are of.
      model: what is judged.
      baseline: what it is judged against.
      runs: of the two.
      means: difference of each average -> its interval.
    """

    benchmark: str
    model: str
    baseline: str
    runs: tuple[int, int]
    means: Mapping[str, Difference]

    @property
    def label(self) -> str:
        """What the comparison is called in a table."""
        return f"{self.model} − {self.baseline} (all seeds)"

    def to_json(self) -> dict[str, Any]:
        """The comparison as what `json.dumps` takes."""
        return dataclasses.asdict(self)


def pooled_on(runs: Sequence[Run], benchmark: str) -> tuple[Pooled, ...]:
    """Every other method against the first, mode by mode, where either has several runs."""
    baseline, *others = by_method(runs).values()
    found = []
    for members in others:
        for mode in modes_of(members, benchmark):
            key = benchmark, mode
            ours, theirs = (
                [outcomes(run.answers[key]) for run in of if run.answers.get(key)]
                for of in (members, baseline)
            )
            if not ours or not theirs or len(ours) + len(theirs) == 2:
                continue
            means = mean_differences(shares(ours), shares(theirs), runs[0].high_resource)
            found.append(
                Pooled(
                    benchmark=benchmark,
                    model=method_label(members[0].name, mode),
                    baseline=method_label(baseline[0].name, mode),
                    runs=(len(ours), len(theirs)),
                    means=means,
                )
            )
    return tuple(found)


def pairs_on(runs: Sequence[Run], benchmark: str) -> tuple[Pair, ...]:
    """What can be compared on a benchmark, question by question.

    Every run is compared with the first method's run of its seed (or the first method's first run,
    where none has this seed) in the same mode; and in every other mode with itself asked directly.
    """
    return tuple(_pairs(runs, benchmark))


def _pairs(runs: Sequence[Run], benchmark: str) -> Iterator[Pair]:
    baselines = by_method(runs)[runs[0].name]
    high_resource = runs[0].high_resource
    for run in runs:
        peer = next((b for b in baselines if b.seed == run.seed), baselines[0])
        for mode in modes_of([run], benchmark):
            against = [(run, DIRECT)] if mode != DIRECT else []
            if run.name != peer.name:
                against.insert(0, (peer, mode))
            for other, its_mode in against:
                ours = run.answers.get((benchmark, mode))
                theirs = other.answers.get((benchmark, its_mode))
                if not ours or not theirs:
                    continue
                compared = compare(outcomes(ours), outcomes(theirs), high_resource)
                if compared is not None:
                    yield Pair(
                        benchmark=benchmark,
                        model=method_label(run.name, mode),
                        baseline=method_label(other.name, its_mode),
                        seeds=(run.seed, other.seed),
                        comparison=compared,
                    )


def means_table(pairs: Sequence[Pair], pooled: Sequence[Pooled] = ()) -> Table:
    """A row a comparison: differences of the averages with their intervals; of pairs the test."""
    names = [n for n in MEAN_LABELS if any(n in pair.comparison.means for pair in pairs)]
    rows = [
        (one.label, *(_interval(one.means.get(name)) for name in names), "–", "–", "–")
        for one in pooled
    ]
    for pair in pairs:
        found = pair.comparison
        test = found.overall
        rows.append(
            (
                pair.label,
                *(_interval(found.means.get(name)) for name in names),
                str(found.questions),
                f"{test.gained} / {test.lost}",
                p_value(test.mid_p),
            )
        )
    labels = (MEAN_LABELS[name] for name in names)
    return Table(("pair", *labels, "questions", "gained / lost", "p"), tuple(rows))


def languages_table(pairs: Sequence[Pair]) -> Table:
    """A row a pair: the difference in each language, marked by its corrected p."""
    codes = ordered(code for pair in pairs for code in pair.comparison.languages)
    rows = []
    for pair in pairs:
        tests, adjusted = pair.comparison.languages, pair.comparison.adjusted
        cells = [
            f"{points(tests[code].difference, signed=True)}{mark(adjusted[code])}"
            if code in tests
            else "–"
            for code in codes
        ]
        rows.append((pair.label, *cells))
    return Table(("pair", *codes), tuple(rows))


def mark(p: float) -> str:
    """The stars of a p value."""
    return next((stars for level, stars in LEVELS.items() if p < level), "")


def p_value(p: float) -> str:
    """A p value as it is printed."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _interval(difference: Difference | None) -> str:
    if difference is None:
        return "–"
    value, low, high = (
        points(x, signed=True) for x in (difference.value, difference.low, difference.high)
    )
    return f"{value} [{low}, {high}]"
