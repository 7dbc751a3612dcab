"""Differences between variants are told from chance, as often as they should be."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from xcot_jax.study.analysis import Score, compare, permutation_test


def right(rng, gain, problems):
    marks = (rng.random(problems) < 0.5 + gain).astype(float)
    return {f"problem {number}": float(mark) for number, mark in enumerate(marks)}


def scores(rng, gain, seeds=3, problems=100, english=0.9):
    """Runs that are right on a low-resource problem with this much more than half the chance."""
    return [
        Score("v", seed, {}, english, 0.0, 0, right(rng, gain, problems)) for seed in range(seeds)
    ]


def test_a_large_gain_is_found_and_lies_in_its_interval():
    rng = np.random.default_rng(0)
    change = compare(scores(rng, 0.3, english=0.85), scores(rng, 0.0))
    assert change.p < 0.001
    assert change.low < 0.3 < change.high and change.low > 0.1
    assert change.of_high == pytest.approx(-0.05)


def test_no_gain_is_found_as_often_as_chance_has_it():
    rng = np.random.default_rng(1)
    found = [compare(scores(rng, 0.0), scores(rng, 0.0)) for _ in range(60)]
    assert sum(change.p < 0.05 for change in found) <= 8
    assert sum(change.low <= 0 <= change.high for change in found) >= 50


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
