"""Each measure reads what its command writes, by language and problem."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from tests.evaluation.lines import line
from tests.evaluation.test_representations import clouds
from xcot_jax.errors import InputError
from xcot_jax.evaluation.alignment import PAIRS, TO_HIGH_CENTRED, Alignment, snapshot
from xcot_jax.evaluation.likelihood import Likelihood
from xcot_jax.settings import Settings
from xcot_jax.study.measures import MEASURES

CODES = ("en", "de", "sw")


@pytest.fixture
def directory(tmp_path):
    """A run's directory with what align and likelihood write."""
    ids = tuple(f"p{n}" for n in range(40))
    before = snapshot(0, CODES, [clouds(3.0, 1.0)] * 2, ("en",))
    after = snapshot(9, CODES, [clouds(0.5, 0.5), clouds(0.1, 0.1)], ("en",))
    alignment = Alignment("heldout", 40, ids, ("en",), (1, 2), before, after)
    values = {code: tuple(n + place / 8 for n in range(40)) for place, code in enumerate(CODES)}
    divergence = {code: of for code, of in values.items() if code != "en"}
    likelihood = Likelihood("heldout", 9, "en", ("en",), ids, (5,) * 40, values, divergence)
    (tmp_path / "eval").mkdir()
    for name, found in (("alignment", alignment), ("likelihood", likelihood)):
        (tmp_path / "eval" / f"{name}.json").write_text(json.dumps(found.to_json()))
    return tmp_path, alignment, likelihood


def test_retrieval_is_that_of_all_pairs_over_layers_after_training(directory):
    path, alignment, _ = directory
    found = MEASURES["retrieval"].read(path, Settings())
    assert {code: len(values) for code, values in found.items()} == dict.fromkeys(CODES, 40)
    everything = np.mean([list(values.values()) for values in found.values()])
    assert everything == pytest.approx(np.mean(alignment.after.accuracy[PAIRS]), abs=1e-4)
    assert everything > np.mean(alignment.before.accuracy[PAIRS])


def test_retrieval_from_low_to_high_asks_in_the_low_resource_languages(directory):
    path, alignment, _ = directory
    found = MEASURES["retrieval_high"].read(path, Settings())
    assert set(found) == {"de", "sw"}
    everything = np.mean([list(values.values()) for values in found.values()])
    expected = np.mean(alignment.after.accuracy[TO_HIGH_CENTRED])
    assert everything == pytest.approx(expected, abs=1e-4)


def test_likelihoods_are_read_by_problem(directory):
    path, _, likelihood = directory
    found = MEASURES["cross_entropy"].read(path, Settings())
    assert found["de"]["p3"] == 3.125 and set(found) == set(CODES)
    assert set(MEASURES["divergence"].read(path, Settings())) == {"de", "sw"}


def test_accuracy_is_that_of_its_own_way_of_asking(tmp_path):
    (tmp_path / "eval").mkdir()
    for stem, right in (("heldout", True), ("heldout.translate", False)):
        lines = [line("p1", "en"), line("p1", "sw", correct=right)]
        text = "".join(json.dumps(row) + "\n" for row in lines)
        (tmp_path / "eval" / f"{stem}.jsonl").write_text(text)
    found = {name: MEASURES[name].read(tmp_path, Settings()) for name in ("accuracy", "translated")}
    assert found["accuracy"] == {"en": {"p1": 1.0}, "sw": {"p1": 1.0}}
    assert found["translated"] == {"en": {"p1": 1.0}, "sw": {"p1": 0.0}}


def test_what_an_earlier_version_wrote_is_told_with_its_command(directory):
    path, _, _ = directory
    for name in ("alignment", "likelihood"):
        (path / "eval" / f"{name}.json").write_text('{"benchmark": "heldout"}')
    for name in ("retrieval", "divergence"):
        with pytest.raises(InputError, match=f"KeyError.*xcot {MEASURES[name].command} --workdir="):
            MEASURES[name].read(path, Settings())


def test_a_way_without_languages_for_it_is_told(directory):
    path, alignment, _ = directory
    only_high = snapshot(9, CODES, [clouds(0.5, 0.5)] * 2, CODES)
    changed = dataclasses.replace(alignment, high_resource=CODES, after=only_high)
    (path / "eval" / "alignment.json").write_text(json.dumps(changed.to_json()))
    with pytest.raises(InputError, match="no retrieval 'low to high, centred'"):
        MEASURES["retrieval_high"].read(path, Settings())


@pytest.mark.parametrize("name", ["cross_entropy", "retrieval"])
def test_what_is_not_there_is_told_with_its_command(name, tmp_path):
    with pytest.raises(InputError, match=f"xcot {MEASURES[name].command} --workdir="):
        MEASURES[name].read(tmp_path, Settings())


def test_values_are_told_in_their_unit():
    assert MEASURES["accuracy"].text(0.1234, signed=True) == "+12.3"
    assert MEASURES["cross_entropy"].text(2.34567) == "2.346"
