"""Differences between variants are told from chance, as often as they should be."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from xcot_jax.errors import InputError
from xcot_jax.study.analysis import Found, Score, compare, contrasts, permutation_test


def right(rng, gain, problems):
    marks = (rng.random(problems) < 0.5 + gain).astype(float)
    return {f"problem {number}": float(mark) for number, mark in enumerate(marks)}


def scores(rng, gain, seeds=3, problems=100, english=0.9, apart=0.0):
    """Runs that are right on a low-resource problem with this much more than half the chance.

    Seeds lie so far apart, as a standard deviation.
    """
    gains = gain + apart * rng.standard_normal(seeds)
    return [
        Score("v", seed, {}, english, 0.0, 0, right(rng, of, problems))
        for seed, of in enumerate(gains)
    ]


def test_a_large_gain_is_found_and_lies_in_its_interval():
    rng = np.random.default_rng(0)
    change = compare(scores(rng, 0.3, english=0.85), scores(rng, 0.0))
    assert change.p < 0.001
    assert change.low < 0.3 < change.high and change.low > 0.1
    assert change.of_high == pytest.approx(-0.05)


def test_no_gain_is_found_as_often_as_chance_has_it():
    rng = np.random.default_rng(1)
    found = [compare(scores(rng, 0.0), scores(rng, 0.0)) for _ in range(100)]
    assert stats.binomtest(sum(change.p < 0.05 for change in found), 100, 0.05).pvalue > 0.01
    assert sum(change.low <= 0 <= change.high for change in found) >= 91  # 2 errors under 95%.


def test_an_interval_is_wider_where_seeds_lie_apart():
    def width(apart: float) -> float:
        rng = np.random.default_rng(5)
        pairs = [(scores(rng, 0.1, apart=apart), scores(rng, 0.0)) for _ in range(40)]
        return np.median([change.high - change.low for change in (compare(*p) for p in pairs)])

    assert width(0.15) > 1.3 * width(0.0)


def test_a_mean_over_pairs_draws_the_pairs_of_a_seed_together(small):
    read, _ = small

    def entry(variant, by_seed):
        runs = tuple(
            Score(variant, seed, {}, 0.9, low, 0, {str(n): low for n in range(5)})
            for seed, low in enumerate(by_seed)
        )
        return Found(variant, runs, None)

    # Seeds change both pairs alike: two pairs say no more than one about another seed.
    found = [entry("n-1", (0.1, 0.1)), entry("n-2", (0.2, 0.4)), entry("n-4", (0.3, 0.7))]
    (one, other, both) = (
        contrast.change for contrast in contrasts(read, found) if contrast.factor == "one more"
    )
    assert (one.low, one.high) == pytest.approx((0.1, 0.3))
    assert (other.low, other.high) == pytest.approx((0.1, 0.3))
    assert (both.value, both.low, both.high) == pytest.approx((0.2, 0.1, 0.3))


def test_runs_measured_on_other_problems_are_not_compared():
    rng = np.random.default_rng(6)
    with pytest.raises(InputError, match="seed 0, was measured on 90 problems, others on 100"):
        compare(scores(rng, 0.1), scores(rng, 0.0, problems=90))


def test_a_variant_against_itself_changes_nothing():
    same = scores(np.random.default_rng(2), 0.1)
    change = compare(same, same)
    assert (change.value, change.low, change.high, change.p) == (0.0, 0.0, 0.0, 1.0)


def test_seeds_are_compared_with_their_own():
    rng = np.random.default_rng(3)
    baseline, variant = scores(rng, 0.0), scores(rng, 0.2)
    assert compare(variant, baseline[::-1]) == compare(variant, baseline)


def test_the_permutation_test_agrees_with_the_sign_test_on_signs():
    differences = np.array([1.0] * 15 + [-1.0] * 5)
    exact = stats.binomtest(5, 20).pvalue
    assert permutation_test(differences) == pytest.approx(exact, abs=0.01)
