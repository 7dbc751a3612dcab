"""A record holds every run, and another study finds its own among them."""

from __future__ import annotations

import json

import pytest

from tests.study.conftest import STUDY
from xcot_jax.errors import InputError
from xcot_jax.study import analysis, plan, record


@pytest.fixture
def written(small, tmp_path):
    """The file of the small study's record."""
    file = tmp_path / "study.json"
    file.write_text(record.text(record.record(*small, {})))
    return file


def another(tmp_path, old="", new=""):
    """The study of the same runs by other names, with other words in place of some."""
    assert old in STUDY
    file = tmp_path / "another.py"
    changed = STUDY.replace(old, new) if old else STUDY
    file.write_text(changed.replace("n-", "m-").replace('"name": variant', '"name": "m"'))
    return plan.read(file)


def test_every_run_stands_in_it_by_every_measure(small, written):
    content = json.loads(written.read_text())
    assert content["figures"] == {
        "low_resource_gain": pytest.approx(20),
        "english_change": 0,
        "p_value": pytest.approx(2 / 2**5, abs=0.02),
    }
    assert content["figures_of"] == "n-4"
    assert [(run["variant"], run["seed"]) for run in content["runs"]] == [
        (f"n-{n}", seed) for seed in (0, 1) for n in (1, 2, 4)
    ]
    assert {name for run in content["runs"] for name in run["measured"]} == set(small[1])
    assert content["power_laws"]["cross_entropy"][""]["exponent"] == pytest.approx(-0.5)
    assert sum(line.startswith('    {"variant"') for line in written.read_text().splitlines()) == 6


def test_runs_of_the_same_settings_are_found_and_tell_the_same(small, written, tmp_path):
    study, found = small
    other = another(tmp_path)
    known = record.known(other, [written])
    assert set(known) == {cell.name for cell in other.cells}
    for name, entries in found.items():
        again = analysis.analyse(other, [run.scores[name] for run in known.values()])
        assert [entry.spread("low") for entry in again] == [e.spread("low") for e in entries]
        for ours, theirs in zip(again, entries, strict=True):
            assert (ours.change is None) == (theirs.change is None)
            if ours.change and theirs.change:
                assert ours.change.value == pytest.approx(theirs.change.value, abs=1e-6)
                assert ours.change.p == theirs.change.p
    taken = record.record(other, found_by(other, known), known)
    assert {run["known_from"] for run in taken["runs"]} == {str(written)}


def found_by(other, known):
    return {
        name: analysis.analyse(other, [run.scores[name] for run in known.values()])
        for name in other.study.measures
    }


@pytest.mark.parametrize(
    ("old", "new", "left"),
    [
        ('"seeds": (0, 1)', '"seeds": (1, 2)', {"m-1-2", "m-2-2", "m-4-2"}),
        ("COUNTS = (1, 2, 4)", "COUNTS = (1, 2, 4, 8)", {"m-8-0", "m-8-1"}),
        ('"steps": int', '"log_every": 7, "steps": int', None),
        ('"accuracy", "cross', '"translated", "cross', None),
        ('"name": variant, ', '"name": variant, "seed": 7, ', None),
    ],
    ids=["seed", "variant", "setting", "measure", "data of another seed"],
)
def test_what_a_record_lacks_is_left_to_run(written, tmp_path, old, new, left):
    other = another(tmp_path, old, new)
    if left is None:
        with pytest.raises(InputError, match="none of its runs has the settings"):
            record.known(other, [written])
    else:
        known = record.known(other, [written])
        assert {cell.name for cell in other.cells} - set(known) == left


def test_runs_from_another_start_are_not_taken(written, tmp_path):
    begun = '"start": "n-1", "baseline": "n-2"'
    other = another(tmp_path, '"baseline": "n-1"', begun)
    with pytest.raises(InputError, match="the start and the measures"):
        record.known(other, [written])


@pytest.mark.parametrize("content", [None, "{", "[]", '{"start": null, "runs": [{}]}'])
def test_a_file_that_is_no_record_is_told(small, tmp_path, content):
    file = tmp_path / "study.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InputError, match=r"--known=.*study.json is no record"):
        record.known(small[0], [file])


def test_a_record_without_values_by_problem_is_told(small, written):
    content = json.loads(written.read_text())
    for run in content["runs"]:
        for measured in run["measured"].values():
            del measured["problems"]
    written.write_text(json.dumps(content))
    with pytest.raises(InputError, match="no record"):
        record.known(small[0], [written])
