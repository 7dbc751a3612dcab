"""The short form of `python -m tests.soak`."""

from __future__ import annotations

from tests.soak import soak


def test_killed_many_times_equals_undisturbed(tmp_path):
    figures = soak(kills=3, terms=1, seed=1, directory=tmp_path, say=lambda text: None)
    assert figures["problems"] == []
    assert figures["equal"] == {"dataset": True, "state": True, "metrics": True}
    assert figures["bitwise_equal"] and figures["kills"] == 3 and figures["terms"] == 1
