"""What a study found: each variant's values over its seeds, and its difference to the baseline.

A variant and the baseline are measured on the same problems in the same languages, seed by seed.
Problems, each with all its languages and seeds, are what chance is taken over: p is that of a test
which swaps the two on problems drawn at random, and intervals draw seeds and problems with
replacement. Of a mean over several pairs of variants, all pairs of a seed are drawn together, as
they share its runs.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from xcot_jax.errors import InputError
from xcot_jax.evaluation.scoring import mean
from xcot_jax.study.measures import Measure
from xcot_jax.study.plan import Plan
from xcot_jax.study.running import Done

DRAWS = 10_000


@dataclasses.dataclass(frozen=True)
class Score:
    """One run by one measure.

    Attributes:
      variant: key in `VARIANTS`.
      seed: of its training.
      languages: code -> mean over problems.
      high: of the teacher's language; not a number where that is not measured.
      low: mean of the low-resource languages.
      tokens: tokens of real text it was trained on.
      problems: problem -> mean over the low-resource languages.
    """

    variant: str
    seed: int
    languages: Mapping[str, float]
    high: float
    low: float
    tokens: int
    problems: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Change:
    """A variant's low-resource mean less the baseline's.

    Attributes:
      value: the difference.
      low: lower end of the 95 % bootstrap interval over seeds and problems.
      high: its upper end.
      p: two-sided p of the permutation test over problems.
      of_high: change of the teacher's language.
    """

    value: float
    low: float
    high: float
    p: float
    of_high: float


@dataclasses.dataclass(frozen=True)
class Contrast:
    """What one factor changes.

    Attributes:
      factor: key in `Study.factors`.
      pair: the variants with it and without it; None for the mean over all its pairs.
      change: of the low-resource mean.
    """

    factor: str
    pair: tuple[str, str] | None
    change: Change


@dataclasses.dataclass(frozen=True)
class Found:
    """A variant over its seeds, by one measure.

    Attributes:
      variant: key in `VARIANTS`.
      scores: of its runs.
      change: against the baseline; None for that itself.
    """

    variant: str
    scores: tuple[Score, ...]
    change: Change | None

    def spread(self, name: str) -> tuple[float, float]:
        """Mean, and standard deviation over seeds (0 of a single one), of a field of `Score`."""
        values = [getattr(score, name) for score in self.scores]
        return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


ByMeasure: TypeAlias = Mapping[str, Sequence[Found]]
"""Key of `MEASURES` -> what was found by it, a variant each."""


def analyse(plan: Plan, scores: Sequence[Score]) -> list[Found]:
    """Compares each variant with the baseline, by all runs' scores."""
    by_variant: dict[str, list[Score]] = {variant: [] for variant in plan.titles}
    for score in scores:
        by_variant[score.variant].append(score)
    baseline = by_variant[plan.study.baseline]
    return [
        Found(
            variant,
            tuple(of),
            None if variant == plan.study.baseline else compare(of, baseline),
        )
        for variant, of in by_variant.items()
    ]


def score(run: Done, measure: Measure) -> Score:
    """The score of a finished run.

    Raises:
      InputError: if what it wrote cannot be read.
    """
    settings = run.cell.settings
    measured = measure.read(run.directory, settings)
    high = settings.high_resource
    by_problem: dict[str, list[float]] = {}
    for code, values in measured.items():
        if code not in high:
            for problem, value in values.items():
                by_problem.setdefault(problem, []).append(value)
    languages = {code: float(np.mean(list(values.values()))) for code, values in measured.items()}
    low = mean([share for code, share in languages.items() if code not in high])
    return Score(
        variant=run.cell.variant,
        seed=run.cell.seed,
        languages=languages,
        high=languages.get(high[0], float("nan")),
        low=float("nan") if low is None else low,
        tokens=_tokens(run),
        problems={problem: float(np.mean(values)) for problem, values in by_problem.items()},
    )


def _tokens(run: Done) -> int:
    """Tokens of real text of all steps, by how full the logged steps' rows were."""
    path = run.directory / "metrics.jsonl"
    try:
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read ({error}); remove the run to make it anew"
        ) from error
    fill = mean([row["fill"] for row in rows if "fill" in row])
    if fill is None:
        raise InputError(f"{path} tells of no training step; remove the run to make it anew")
    data, train = run.cell.settings.data, run.cell.settings.train
    return round(fill * data.row_tokens * data.batch_rows * train.steps)


def contrasts(plan: Plan, found: Sequence[Found]) -> list[Contrast]:
    """What each factor of the study changes, beside what else there is, and on average."""
    scores = {entry.variant: entry.scores for entry in found}
    made = []
    for factor, pairs in plan.study.factors.items():
        matched = [_matched(scores[with_it], scores[without]) for with_it, without in pairs]
        made += [
            Contrast(factor, (with_it, without), _change([runs]))
            for (with_it, without), runs in zip(pairs, matched, strict=True)
        ]
        if len(pairs) > 1:
            made.append(Contrast(factor, None, _change(matched)))
    return made


def compare(scores: Sequence[Score], baseline: Sequence[Score]) -> Change:
    """A variant's runs against the baseline's of the same seeds."""
    return _change([_matched(scores, baseline)])


def _matched(scores: Sequence[Score], baseline: Sequence[Score]) -> list[tuple[Score, Score]]:
    against = {score.seed: score for score in baseline}
    return [(score, against[score.seed]) for score in scores]


def _change(matched: Sequence[Sequence[tuple[Score, Score]]]) -> Change:
    """The mean difference over pairs of variants, each with its runs seed by seed.

    Raises:
      InputError: if runs were measured on different problems.
    """
    pairs = [pair for runs in matched for pair in runs]
    problems = sorted(pairs[0][0].problems)
    for run in (run for pair in pairs for run in pair):
        if sorted(run.problems) != problems or not problems:
            raise InputError(
                f"{run.variant}, seed {run.seed}, was measured on {len(run.problems)} problems, "
                f"others on {len(problems)} or on other ones; they cannot be compared"
            )
    by_pair = [
        [[s.problems[p] - b.problems[p] for p in problems] for s, b in runs] for runs in matched
    ]
    difference = np.mean(by_pair, axis=0)  # [seeds, problems]
    low, high = np.percentile(_bootstrap(difference), [2.5, 97.5])
    return Change(
        value=float(difference.mean()),
        low=float(low),
        high=float(high),
        p=permutation_test(difference.mean(axis=0)),
        of_high=float(np.mean([s.high - b.high for s, b in pairs])),
    )


def permutation_test(differences: np.ndarray, seed: int = 0) -> float:
    """Two-sided p of a mean of paired differences [n]: signs are what chance would draw.

    With 10,000 draws the smallest p is 1e-4.
    """
    rng = np.random.default_rng(seed)
    observed = abs(differences.mean())
    signs = rng.integers(0, 2, (DRAWS, len(differences)), dtype=np.int8) * 2 - 1
    drawn = np.abs(signs @ differences) / len(differences)
    return float((1 + np.sum(drawn >= observed - 1e-12)) / (1 + DRAWS))


def _bootstrap(difference: np.ndarray, seed: int = 0) -> np.ndarray:
    """Means of [seeds, problems] with both drawn with replacement."""
    rng = np.random.default_rng(seed)
    seeds, problems = difference.shape
    of_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), DRAWS) / seeds
    of_problems = rng.multinomial(problems, np.full(problems, 1 / problems), DRAWS) / problems
    return np.einsum("ds,sp,dp->d", of_seeds, difference, of_problems, optimize=True)


def best(plan: Plan, found: Sequence[Found], measure: Measure) -> Found | None:
    """The variant that the study's figures are of."""
    others = [entry for entry in found if entry.change]
    if plan.study.method:
        return next((entry for entry in others if entry.variant == plan.study.method), None)
    sign = -1 if measure.falls else 1
    return max(others, key=lambda entry: sign * entry.spread("low")[0], default=None)


def figures(plan: Plan, found: Sequence[Found], measure: Measure) -> dict[str, Any]:
    """Of the best variant against the baseline; gains in the measure's unit."""
    entry = best(plan, found, measure)
    if entry is None or entry.change is None:
        return {}
    return {
        "low_resource_gain": measure.scale * entry.change.value,
        "english_change": measure.scale * entry.change.of_high,
        "p_value": entry.change.p,
    }
