"""Two models asked the same questions: is the difference between them more than chance?"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
from scipy import stats

from xcot_jax.evaluation.answers import Answer
from xcot_jax.evaluation.scoring import averages
from xcot_jax.languages import ordered

RESAMPLES = 10_000
_CHUNK = 500  # Resamples drawn at once; bounds memory for benchmarks of many problems.

Outcomes = Mapping[tuple[str, str], bool]
"""(problem, language code) -> whether it was answered right."""

Shares = Mapping[tuple[str, str], float]
"""(problem, language code) -> the share of runs that answered it right."""


@dataclasses.dataclass(frozen=True)
class McNemar:
    """McNemar's test of two models on the same questions.

    Attributes:
      questions: how many both were asked.
      gained: questions that only the model is right on.
      lost: questions that only the baseline is right on.
      exact: two-sided p of the exact binomial test.
      mid_p: two-sided mid-p, less conservative, and as good at keeping its level (Fagerland,
        Lydersen and Laake, 2013).
    """

    questions: int
    gained: int
    lost: int
    exact: float
    mid_p: float

    @property
    def difference(self) -> float:
        """The model's accuracy less the baseline's."""
        return (self.gained - self.lost) / self.questions


@dataclasses.dataclass(frozen=True)
class Difference:
    """A difference of shares, with its 95% interval.

    Attributes:
      value: model - baseline.
      low: lower end of the paired bootstrap interval.
      high: its upper end.
    """

    value: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A model against a baseline on the questions both were asked.

    Attributes:
      questions: how many these are, a problem in two languages being two.
      unpaired: questions that only one of them was asked; they count nowhere here.
      languages: code -> McNemar's test on its questions.
      adjusted: code -> its mid-p after Holm's correction for the number of languages.
      overall: McNemar's test on all questions. It takes them as independent, which the same problem
        in several languages is not; the intervals do not.
      means: difference of each average of `Averages` that both have -> its interval. Problems are
        drawn with replacement, each with all its languages.
    """

    questions: int
    unpaired: int
    languages: Mapping[str, McNemar]
    adjusted: Mapping[str, float]
    overall: McNemar
    means: Mapping[str, Difference]


def outcomes(answers: Iterable[Answer]) -> Outcomes:
    """Which questions were answered right, by the flexible reading."""
    return {(answer.id, answer.language): answer.correct for answer in answers}


def compare(
    model: Outcomes, baseline: Outcomes, high_resource: Collection[str], *, seed: int = 0
) -> Comparison | None:
    """Compares on the questions both were asked.

    Args:
      model: what is judged.
      baseline: what it is judged against.
      high_resource: codes of the high-resource languages.
      seed: of the bootstrap.

    Returns:
      the comparison; None if they share no question.
    """
    shared = sorted(model.keys() & baseline.keys())
    if not shared:
        return None
    codes = ordered(code for _, code in shared)
    languages = {
        code: mcnemar([(model[k], baseline[k]) for k in shared if k[1] == code]) for code in codes
    }
    return Comparison(
        questions=len(shared),
        unpaired=len(model.keys() ^ baseline.keys()),
        languages=languages,
        adjusted=holm({code: test.mid_p for code, test in languages.items()}),
        overall=mcnemar([(model[key], baseline[key]) for key in shared]),
        means=mean_differences(model, baseline, high_resource, seed=seed),
    )


def shares(runs: Sequence[Outcomes]) -> Shares:
    """How many of the runs are right on each question that all of them were asked."""
    shared = set.intersection(*(set(run) for run in runs))
    return {key: sum(run[key] for run in runs) / len(runs) for key in shared}


def mean_differences(
    model: Shares, baseline: Shares, high_resource: Collection[str], *, seed: int = 0
) -> dict[str, Difference]:
    """Every average's difference on the questions both were asked, with its interval.

    Of several runs' shares, the interval is about other problems, not about other runs.
    """
    shared = sorted(model.keys() & baseline.keys())
    if not shared:
        return {}
    codes = ordered(code for _, code in shared)
    return _differences(model, baseline, shared, codes, high_resource, seed)


def mcnemar(pairs: Sequence[tuple[bool, bool]]) -> McNemar:
    """The test of (model right, baseline right) pairs; only those that differ tell anything."""
    gained = sum(model and not baseline for model, baseline in pairs)
    lost = sum(baseline and not model for model, baseline in pairs)
    fewer, of = min(gained, lost), gained + lost
    tail, point = (float(f(fewer, of, 0.5)) for f in (stats.binom.cdf, stats.binom.pmf))
    exact, mid_p = min(1.0, 2 * tail), min(1.0, 2 * tail - point)
    return McNemar(len(pairs), gained, lost, exact, mid_p)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """P values corrected for their number by Holm's step-down method (1979)."""
    corrected, largest = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        corrected[name] = largest
    return {name: corrected[name] for name in p_values}


def _differences(
    model: Shares,
    baseline: Shares,
    shared: Sequence[tuple[str, str]],
    codes: Sequence[str],
    high_resource: Collection[str],
    seed: int,
) -> dict[str, Difference]:
    """Every average's difference with its percentile bootstrap interval, clustered by problem."""
    rows = {problem: row for row, problem in enumerate(dict.fromkeys(key[0] for key in shared))}
    columns = {code: column for column, code in enumerate(codes)}
    change = np.zeros((len(rows), len(columns)))
    asked = np.zeros_like(change)
    for problem, code in shared:
        place = rows[problem], columns[code]
        change[place] = float(model[problem, code]) - float(baseline[problem, code])
        asked[place] = 1.0
    weights = {
        name: row for name, row in _mean_weights(codes, high_resource).items() if row is not None
    }
    matrix = np.stack(list(weights.values()), axis=1)  # languages x averages
    value = (change.sum(0) / asked.sum(0)) @ matrix
    drawn = _resampled(change, asked, seed) @ matrix
    low, high = np.nanpercentile(drawn, [2.5, 97.5], axis=0)
    return {
        name: Difference(float(value[i]), float(low[i]), float(high[i]))
        for i, name in enumerate(weights)
    }


def _resampled(change: np.ndarray, asked: np.ndarray, seed: int) -> np.ndarray:
    """Differences of accuracy `[RESAMPLES, languages]` over problems drawn with replacement.

    A language of which no question was drawn has none.
    """
    rng = np.random.default_rng(seed)
    problems = len(change)
    drawn = []
    for _ in range(RESAMPLES // _CHUNK):
        times = rng.multinomial(problems, np.full(problems, 1 / problems), size=_CHUNK)
        with np.errstate(invalid="ignore"):
            drawn.append((times @ change) / (times @ asked))
    return np.concatenate(drawn)


def _mean_weights(
    codes: Sequence[str], high_resource: Collection[str]
) -> dict[str, np.ndarray | None]:
    """Each average as the weights of the languages; averages are linear in the accuracies."""
    basis = [
        dataclasses.asdict(averages({code: float(code == one) for code in codes}, high_resource))
        for one in codes
    ]
    rows = {name: [entry[name] for entry in basis] for name in basis[0]}
    return {name: None if None in row else np.array(row) for name, row in rows.items()}
