"""Paired tests and intervals: the published values, and what they must do on data known to us."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from xcot_jax.evaluation.paired import compare, holm, mcnemar
from xcot_jax.languages import HIGH_RESOURCE

CODES = ("en", "de", "th", "sw")


def pairs(gained: int, lost: int, alike: int = 5) -> list[tuple[bool, bool]]:
    return [(True, False)] * gained + [(False, True)] * lost + [(True, True)] * alike


@pytest.mark.parametrize(
    ("gained", "lost", "exact", "mid_p"),
    [
        (0, 0, 1.0, 1.0),
        (3, 3, 1.0, 1.0),
        # Fagerland, Lydersen and Laake (2013), BMC Med. Res. Methodol. 13:91.
        (1, 7, 0.0703, 0.0391),
    ],
)
def test_mcnemar_is_the_published_test(gained: int, lost: int, exact: float, mid_p: float) -> None:
    found = mcnemar(pairs(gained, lost))
    assert (found.gained, found.lost, found.questions) == (gained, lost, gained + lost + 5)
    assert (found.exact, found.mid_p) == pytest.approx((exact, mid_p), abs=5e-5)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_binomial_test_and_knows_no_sides(gained: int, lost: int) -> None:
    found, reverse = mcnemar(pairs(gained, lost)), mcnemar(pairs(lost, gained))
    if gained + lost:
        assert found.exact == pytest.approx(stats.binomtest(gained, gained + lost).pvalue)
    assert found.exact == reverse.exact and found.mid_p == reverse.mid_p <= found.exact
    assert found.difference == -reverse.difference


def test_holm_steps_down() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06}
    )
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}


def outcomes(seed: int, share: float, problems: int = 60) -> dict[tuple[str, str], bool]:
    rng = random.Random(seed)
    return {(f"p{i}", code): rng.random() < share for i in range(problems) for code in CODES}


def test_the_same_seed_gives_the_same_interval_and_another_nearly_so() -> None:
    model, baseline = outcomes(1, 0.6), outcomes(2, 0.4)
    first, again = (compare(model, baseline, HIGH_RESOURCE) for _ in range(2))
    other = compare(model, baseline, HIGH_RESOURCE, seed=1)
    assert first == again != other and first is not None and other is not None
    for name in ("high_mean", "low_mean", "gap"):
        one, two = first.means[name], other.means[name]
        assert one.low < one.value < one.high
        assert (one.low, one.high) == pytest.approx((two.low, two.high), abs=0.02)


def test_problems_are_drawn_with_all_their_languages() -> None:
    # Every problem goes the same way in all languages: four times the questions, not four times
    # the evidence. The interval is that of one language alone.
    rng = random.Random(0)
    ways = {f"p{i}": (rng.random() < 0.6, rng.random() < 0.4) for i in range(80)}
    model = {(p, code): ours for p, (ours, _) in ways.items() for code in CODES}
    baseline = {(p, code): theirs for p, (_, theirs) in ways.items() for code in CODES}
    together = compare(model, baseline, HIGH_RESOURCE)
    alone = compare(
        {key: right for key, right in model.items() if key[1] == "sw"}, baseline, HIGH_RESOURCE
    )
    assert together is not None and alone is not None
    assert together.means["low_mean"] == alone.means["low_mean"]
    change = np.array([ours - theirs for ours, theirs in ways.values()], float)
    normal = 2 * 1.96 * change.std() / np.sqrt(len(change))
    interval = together.means["low_mean"]
    assert interval.high - interval.low == pytest.approx(normal, rel=0.1)
    assert together.means["gap"].value == together.means["gap"].high == 0.0


def test_means_weigh_languages_alike_and_only_shared_questions_count() -> None:
    model = {("a", "en"): True, ("a", "th"): True, ("b", "th"): True, ("a", "sw"): False}
    baseline = {("a", "en"): True, ("a", "th"): False, ("b", "th"): False, ("a", "sw"): True}
    found = compare({**model, ("c", "th"): True}, baseline, HIGH_RESOURCE)
    assert found is not None and (found.questions, found.unpaired) == (4, 1)
    assert found.means["low_mean"].value == pytest.approx(0.0)  # (1 - 1) / 2, not (2 - 1) / 3
    assert found.overall.gained == 2 and found.overall.lost == 1
    assert "avg_10" not in found.means
    assert compare({("z", "en"): True}, baseline, HIGH_RESOURCE) is None
