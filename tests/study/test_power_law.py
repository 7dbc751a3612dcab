"""A power law is found where there is one, with an interval that holds its exponent."""

from __future__ import annotations

import numpy as np
import pytest

from xcot_jax.study.power_law import fit, sentences


def test_an_exact_law_is_found():
    law = fit([(x, 0.2 * x**0.3) for x in (1.0, 2.0, 4.0, 7.0, 10.0)])
    assert law.factor == pytest.approx(0.2) and law.exponent == pytest.approx(0.3)
    assert law.low == pytest.approx(law.high) and law.r_squared == pytest.approx(1)
    assert law(4) == pytest.approx(0.2 * 4**0.3)
    (told,) = sentences({"one budget": law}, 100)
    assert told.startswith("one budget: 20 x^0.30")


def test_the_interval_holds_the_exponent_as_often_as_it_says():
    rng = np.random.default_rng(0)
    x = np.repeat([1.0, 2.0, 4.0, 7.0, 10.0], 3)
    laws = [
        fit(list(zip(x, 0.2 * x**0.3 * np.exp(0.1 * rng.normal(size=len(x))), strict=True)))
        for _ in range(200)
    ]
    inside = np.mean([law.low <= 0.3 <= law.high for law in laws])
    assert 0.9 <= inside <= 0.99


@pytest.mark.parametrize(
    "points", [[(1.0, 0.1), (2.0, 0.2), (2.0, 0.3)], [(1.0, 0.0), (2.0, 0.1), (3.0, 0.2)]]
)
def test_what_has_no_law_has_none(points):
    assert fit(points) is None
