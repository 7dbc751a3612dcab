"""Intervals, means and the JSON of results."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xcot_jax.evaluation.agreement import Agreement
from xcot_jax.evaluation.scoring import (
    BenchmarkResult,
    LanguageScore,
    Table,
    averages,
    language_score,
    points,
    result_table,
    summarise,
    wilson,
)
from xcot_jax.languages import CODES, HIGH_RESOURCE


def score(correct: int, n: int) -> LanguageScore:
    right = [i < correct for i in range(n)]
    return language_score(
        correct=right,
        strict_correct=right[1:] + [False],
        truncated=[False] * n,
        answered=[True] * n,
    )


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [  # statsmodels.stats.proportion.proportion_confint(method="wilson")
        (0, 10, 0.0, 0.2775327998628892),
        (10, 10, 0.7224672001371107, 1.0),
        (5, 10, 0.236593090512564, 0.763406909487436),
        (81, 263, 0.2552829, 0.3661998),
    ],
)
def test_wilson_is_the_published_interval(successes: int, n: int, low: float, high: float) -> None:
    assert wilson(successes, n) == pytest.approx((low, high), abs=2e-5)


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_solves_the_score_equation(case: tuple[int, int]) -> None:
    successes, n = case
    low, high = wilson(successes, n)
    share = successes / n
    assert 0 <= low <= share <= high <= 1
    for end in (low, high):
        if 0 < end < 1:
            z = (share - end) / math.sqrt(end * (1 - end) / n)
            assert abs(z) == pytest.approx(1.959964, rel=1e-5)


def test_wilson_of_nothing_and_of_nonsense() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    for successes, n in ((-1, 3), (4, 3)):
        with pytest.raises(ValueError, match="is not a share"):
            wilson(successes, n)


def test_language_score_counts() -> None:
    found = language_score(
        correct=[True, False, False, True],
        strict_correct=[True, False, False, False],
        truncated=[False, True, True, True],
        answered=[True] * 3 + [False],
        chrf=41.5,
    )
    assert (found.accuracy, found.n, found.truncated, found.answered) == (0.5, 4, 0.75, 0.75)
    assert (found.strict, found.chrf, found.right_language) == (0.25, 41.5, None)
    assert (found.low, found.high) == wilson(2, 4)
    for outcomes in ([], [True, False]):
        with pytest.raises(ValueError, match="questions"):
            language_score(
                correct=outcomes, strict_correct=outcomes, truncated=[], answered=outcomes
            )


def test_means_weigh_languages_equally_and_gap_is_high_minus_low() -> None:
    scores = {"en": score(9, 10), "de": score(7, 10), "sw": score(1, 2), "th": score(30, 100)}
    result = summarise("m", 1, 7, "mgsm", scores, ("en", "de", "fr"))
    assert result.high_mean == pytest.approx(0.8)
    assert result.low_mean == pytest.approx(0.4)
    assert result.gap == pytest.approx(0.4)
    assert result.strict.high_mean == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("left_out", "ten", "eleven"),
    [((), 0.25, 0.3), (("te",), 0.25, None), (("sw",), None, None), (("te", "en"), None, None)],
)
def test_averages_over_ten_and_eleven_languages_need_them_all(
    left_out: tuple[str, ...], ten: float | None, eleven: float | None
) -> None:
    accuracies = {code: 0.8 if code == "te" else 0.25 for code in CODES if code not in left_out}
    found = averages(accuracies, HIGH_RESOURCE)
    assert (found.avg_10, found.avg_11) == (pytest.approx(ten), pytest.approx(eleven))


@pytest.mark.parametrize(("codes", "empty"), [(("en",), "low_mean"), (("sw",), "high_mean")])
def test_an_empty_side_has_no_mean_and_no_gap(codes: tuple[str, ...], empty: str) -> None:
    result = summarise("m", 0, 0, "mgsm", {code: score(1, 2) for code in codes}, ("en",))
    assert getattr(result, empty) is None and result.gap is None


def test_json_has_exactly_the_documented_shape_and_round_trips() -> None:
    result = summarise(
        "m",
        1,
        7,
        "mgsm",
        {"en": score(9, 10), "sw": score(1, 2)},
        ("en",),
        mode="clsp",
        agreement=Agreement(0.5, 0.25, 4),
    )
    data = json.loads(json.dumps(result.to_json()))
    means = {"high_mean", "low_mean", "gap", "avg_10", "avg_11"}
    assert set(data["strict"]) == means
    assert set(data) == means | {
        "name", "seed", "step", "benchmark", "mode", "languages", "strict", "agreement",
    }  # fmt: skip
    fields = {
        "accuracy", "low", "high", "n", "strict", "truncated", "answered", "right_language", "chrf",
    }  # fmt: skip
    assert set(data["languages"]) == {"en", "sw"} and set(data["languages"]["sw"]) == fields
    assert BenchmarkResult.from_json(data) == result


def test_json_of_another_shape_is_refused() -> None:
    data = summarise("m", 1, 7, "mgsm", {"en": score(9, 10)}, ("en",)).to_json()
    with pytest.raises(ValueError, match="gap"):
        BenchmarkResult.from_json({key: value for key, value in data.items() if key != "gap"})
    with pytest.raises(ValueError, match="avg_10.*evaluate the run again"):
        BenchmarkResult.from_json({key: value for key, value in data.items() if key != "avg_10"})
    with pytest.raises(ValueError, match="extra"):
        BenchmarkResult.from_json({**data, "extra": 1})
    with pytest.raises(ValueError, match="without languages"):
        BenchmarkResult.from_json({})


def test_points() -> None:
    assert points(0.8125) == "81.2" and points(None) == "–" and points(0.0) == "0.0"
    assert points(0.03, signed=True) == "+3.0" and points(-0.1, signed=True) == "-10.0"


def test_tables_are_aligned_and_hold_every_language() -> None:
    result = summarise("xcot", 1, 7, "mgsm", {"en": score(9, 10), "sw": score(1, 2)}, ("en",))
    lines = result_table(result).text().split("\n")
    assert lines[0].split() == ["xcot,", "mgsm", "en", "sw", "high", "low", "gap"]
    assert lines[2].split() == ["accuracy", "90.0", "50.0", "90.0", "50.0", "40.0"]
    assert lines[5].split() == ["strict", "80.0", "0.0", "80.0", "0.0", "80.0"]
    assert lines[-1].split() == ["questions", "10", "2"]
    assert not any(text.startswith("chrF") for text in lines)
    table = Table(("a", "bb"), (("long name", "1"), ("x", "22")))
    assert table.text() == "a          bb\n-------------\nlong name   1\nx          22"
