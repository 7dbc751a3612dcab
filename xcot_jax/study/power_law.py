"""How a measure grows along a study's axis: y = a x^b, as the Parallel Scaling Law has it.

Yang et al., arXiv 2510.02272, find such a law in the number of parallel languages trained on.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from xcot_jax.study.analysis import Found
from xcot_jax.study.plan import Plan


@dataclasses.dataclass(frozen=True)
class PowerLaw:
    """The line through the logarithms of one series, every run being a point.

    Attributes:
      factor: a, in the measure's own scale.
      exponent: b.
      low: lower end of its 95 % interval, by Student's t.
      high: its upper end.
      r_squared: share of the variance of log y that the line explains.
    """

    factor: float
    exponent: float
    low: float
    high: float
    r_squared: float

    def __call__(self, x: float) -> float:
        """The law's y at x."""
        return self.factor * x**self.exponent


def laws(plan: Plan, found: Sequence[Found]) -> dict[str, PowerLaw]:
    """The law of each series of the study's axis that has one, if the study asks: series -> law."""
    if not plan.study.power_law:
        return {}
    scores = {entry.variant: entry.scores for entry in found}
    fitted = {
        title: fit([(plan.study.x[point], score.low) for point in line for score in scores[point]])
        for title, line in plan.study.lines.items()
    }
    return {title: law for title, law in fitted.items() if law}


def fit(points: Sequence[tuple[float, float]]) -> PowerLaw | None:
    """The law of points (x, y); None where fewer than three x differ or a logarithm is missing."""
    x, y = (np.array(values, float) for values in zip(*points, strict=True))
    if len(set(x)) < 3 or min(x.min(), y.min()) <= 0:
        return None
    line = stats.linregress(np.log(x), np.log(y))
    reach = stats.t.ppf(0.975, len(x) - 2) * line.stderr
    return PowerLaw(
        factor=math.exp(line.intercept),
        exponent=float(line.slope),
        low=float(line.slope - reach),
        high=float(line.slope + reach),
        r_squared=float(line.rvalue**2),
    )


def sentences(fitted: Mapping[str, PowerLaw], scale: float) -> list[str]:
    """A line a series, in the unit that `scale` leads to."""
    return [
        f"{f'{name}: ' if name else ''}{scale * law.factor:.3g} x^{law.exponent:.2f} (95% interval "
        f"of the exponent {law.low:.2f} to {law.high:.2f}; R² {law.r_squared:.2f})"
        for name, law in fitted.items()
    ]
