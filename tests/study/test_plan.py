"""Studies are config files; runs that differ in what is not asked about are refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from xcot_jax import config as config_files
from xcot_jax.config import ConfigError
from xcot_jax.study import plan

STUDIES = Path(__file__).parents[2] / "configs" / "studies"
SMALL = """
from ml_collections import ConfigDict

VARIANTS = {"a": "A", "b": "B"}
STUDY = {"title": "t", "baseline": "a", "seeds": (0, 1)}


def get_config(variant="a"):
    config = ConfigDict({"name": variant, "loss": {"beta": 0.0 if variant == "a" else 0.5}})
    # more
    return config
"""


@pytest.fixture
def study(tmp_path):
    """Writes a study with other words in place of some."""

    def write(old="", new=""):
        file = tmp_path / "small.py"
        assert old in SMALL
        file.write_text(SMALL.replace(old, new) if old else SMALL)
        return file

    return write


@pytest.mark.parametrize("file", sorted(STUDIES.glob("*.py")), ids=lambda file: file.stem)
def test_every_study_is_a_fair_comparison(file):
    found = plan.read(file)
    assert len(found.cells) == len(found.titles) * len(found.study.seeds)
    assert len({cell.name for cell in found.cells}) == len(found.cells)
    assert {cell.settings.name for cell in found.cells} == set(found.titles.values())
    saved = {dataclasses.replace(c.settings, name="", seed=0) for c in found.cells}
    assert len(saved) == len(found.titles)  # No variant is another one twice.


def test_a_cell_is_what_the_same_variant_trains_by_hand(study):
    file = study()
    cells = plan.read(file, ["--config.train.steps=7"]).cells
    by_hand = config_files.load(f"{file}:b", {"seed": "1", "train.steps": "7"})
    assert [(c.variant, c.seed) for c in cells] == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert cells[-1].settings == by_hand
    assert len({cell.data for cell in cells}) == 1  # What is prepared is the same for all.


@pytest.mark.parametrize(
    "differ",
    [
        'config.prep = ConfigDict({"repeat_low_resource": 1 + (variant == "b")})',
        'config.data = ConfigDict({"students": 1 + 2 * (variant == "b")})',
    ],
    ids=["prep", "students"],
)
def test_data_differ_where_their_settings_do(study, differ):
    file = study("# more", differ)
    file.write_text(file.read_text().replace('"seeds"', '"varies": ("data.students",), "seeds"'))
    cells = plan.read(file).cells
    assert [cell.data == cells[0].data for cell in cells] == [True, False, True, False]
    other = plan.read(file, ["--config.seed=7"]).cells
    assert [cell.seed for cell in other] == [0, 0, 1, 1]
    assert not {cell.data for cell in other} & {cell.data for cell in cells}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("# more", 'config.train = ConfigDict({"steps": 5 + (variant == "b")})', "train.steps=6"),
        (
            "# more",
            'config.high_resource = ("en", "de") if variant == "b" else ("en",)',
            "high_resource=",
        ),
        ('"baseline": "a"', '"baseline": "c"', "STUDY names c"),
        ('"baseline": "a"', '"method": "a"', "STUDY needs baseline"),
        ('"baseline": "a"', '"baseline": "a", "start": "a"', "a is the start"),
        ('"seeds": (0, 1)', '"seeds": ()', "no seeds"),
        ('"seeds"', '"sedes"', "STUDY has no sedes"),
        ('"seeds"', '"x": {"a": 1}, "series": {"line": ("a", "b")}, "seeds"', "no x of b"),
        ("STUDY =", "OTHER =", "no study"),
    ],
)
def test_what_is_wrong_with_a_study_is_told(study, old, new, message):
    with pytest.raises(ConfigError, match=message):
        plan.read(study(old, new))


def test_a_variant_may_be_a_point_of_two_lines():
    x = {"one": 1, "two": 2, "all": 10}
    series = {"same": ("all", "one"), "growing": ("two", "all")}
    lines = plan.Study("title", "one", x=x, series=series).lines
    assert lines == {"same": ["one", "all"], "growing": ["two", "all"]}
    assert plan.Study("title", "one", x=x).lines == {"": ["one", "two", "all"]}


def test_a_study_may_say_what_varies(study):
    steps = 'config.train = ConfigDict({"steps": 5 + (variant == "b")})'
    file = study("# more", steps)
    file.write_text(file.read_text().replace('"seeds"', '"varies": ("train.steps",), "seeds"'))
    assert {cell.settings.train.steps for cell in plan.read(file).cells} == {5, 6}


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        plan.read(tmp_path / "none.py")
