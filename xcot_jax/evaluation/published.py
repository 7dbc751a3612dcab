"""Published accuracies on the benchmarks, each with its source, for a report to stand beside.

They are of other models, base models and prompts, read by other extraction rules: for orientation,
not for a comparison like for like. A row is here only if its source was looked up.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

from xcot_jax.evaluation.scoring import MEAN_LABELS, Averages, Table, averages, mean_names, points
from xcot_jax.languages import ordered

_MATHOCTOPUS = "Chen et al., arXiv 2310.20246; mathoctopus.github.io"
_MATHOCTOPUS_LANGUAGES = ("en", "sw", "zh", "bn", "de", "es", "fr", "ja", "ru", "th")


@dataclasses.dataclass(frozen=True)
class Published:
    """One model's accuracies as its authors report them.

    Attributes:
      benchmark: a row of `xcot_jax.evaluation.benchmarks.BENCHMARKS`.
      model: what its authors call it, and its size.
      accuracies: language code -> accuracy in percent.
      source: where it is written.
    """

    benchmark: str
    model: str
    accuracies: dict[str, float]
    source: str


def _mathoctopus(benchmark: str, model: str, *accuracies: float) -> Published:
    """A row of the tables of MathOctopus' project page, in the order of their columns."""
    by_code = dict(zip(_MATHOCTOPUS_LANGUAGES, accuracies, strict=True))
    return Published(benchmark, f"MathOctopus {model}", by_code, _MATHOCTOPUS)


# fmt: off
PUBLISHED: tuple[Published, ...] = (
    _mathoctopus(
        "mgsm", "Cross 7B", 52.0, 23.6, 31.6, 18.8, 38.0, 39.2, 36.4, 27.2, 33.6, 21.6
    ),
    _mathoctopus(
        "mgsm", "Parallel 7B", 52.4, 39.2, 38.4, 28.8, 44.8, 42.4, 43.6, 36.0, 39.6, 34.4
    ),
    _mathoctopus(
        "mgsm", "Parallel xRFT 7B", 54.8, 38.4, 45.2, 33.2, 43.6, 45.2, 38.0, 35.6, 48.4, 36.4
    ),
    _mathoctopus(
        "mgsm", "Parallel 13B", 53.2, 42.8, 48.8, 35.2, 44.4, 48.0, 48.4, 43.2, 47.6, 46.8
    ),
    _mathoctopus(
        "mgsm", "Parallel xRFT 13B", 51.6, 46.0, 51.2, 42.0, 49.2, 53.2, 49.6, 39.6, 47.6, 46.0
    ),
    _mathoctopus(
        "msvamp", "Cross 7B", 49.2, 36.6, 43.6, 30.2, 48.6, 46.8, 46.4, 42.5, 46.7, 34.0
    ),
    _mathoctopus(
        "msvamp", "Parallel 7B", 46.5, 40.1, 42.5, 29.1, 43.5, 45.4, 46.0, 42.5, 45.4, 35.7
    ),
    _mathoctopus(
        "msvamp", "Parallel xRFT 7B", 46.8, 42.3, 43.2, 32.8, 43.1, 44.5, 45.3, 43.2, 42.1, 40.5
    ),
)
# fmt: on


def published_table(benchmark: str, high_resource: Collection[str]) -> Table | None:
    """The published rows of a benchmark; None if there are none.

    The means are computed from the languages, as they are for runs.
    """
    rows = [row for row in PUBLISHED if row.benchmark == benchmark]
    if not rows:
        return None
    means: Sequence[Averages] = [averages(row.accuracies, high_resource) for row in rows]
    names = mean_names(means)
    codes = ordered(code for row in rows for code in row.accuracies)
    cells = [
        (
            row.model,
            *(f"{row.accuracies[code]:.1f}" if code in row.accuracies else "–" for code in codes),
            *(points(_share(getattr(mean, name))) for name in names),
            row.source,
        )
        for row, mean in zip(rows, means, strict=True)
    ]
    return Table(("model", *codes, *(MEAN_LABELS[n] for n in names), "source"), tuple(cells))


def _share(percent: float | None) -> float | None:
    return None if percent is None else percent / 100
