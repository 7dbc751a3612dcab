"""Config files and overrides: clear errors, the command line beats the file, saved runs reload."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xcot_jax import config
from xcot_jax.settings import Settings

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / "configs").glob("*.py"))


VARIANTS = [
    f"{path}:{variant}"
    for path in CONFIGS
    for variant in re.findall(r'^    "(v\d\w+-\d+)": ', path.read_text(), re.MULTILINE)
]


@pytest.fixture
def file(tmp_path):
    def write(body):
        path = tmp_path / "run.py"
        path.write_text(
            "from ml_collections import ConfigDict\n"
            f"def get_config():\n    return ConfigDict({body})\n"
        )
        return path

    return write


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_load_and_reload_from_what_they_saved(path, tmp_path):
    settings = config.load(path)
    assert settings.name != Settings().name
    config.save(settings, tmp_path / "config.json")
    assert config.load(tmp_path / "config.json") == settings


@pytest.mark.parametrize("name", VARIANTS, ids=lambda name: name.rpartition("/")[2])
def test_a_variant_names_its_chips_and_rows_for_each(name):
    settings = config.load(name)
    chips = settings.mesh.data * settings.mesh.fsdp * settings.mesh.tensor
    assert chips == int(name.rpartition("-")[2]) // (2 if ":v5p-" in name else 1)
    assert settings.data.batch_rows % (chips * settings.optim.accumulate) == 0
    base = config.load(name.rpartition(":")[0])
    changed = {key for key in config.differences(base, settings)}
    assert changed <= {"mesh.fsdp", "mesh.tensor", "data.batch_rows", "optim.accumulate"}


def test_variants_are_given_to_get_config_and_unknown_ones_listed(tmp_path):
    path = tmp_path / "run.py"
    path.write_text(
        "VARIANTS = {'small': 4, 'large': 8}\n"
        "def get_config(variant='small'):\n"
        "    return {'name': variant, 'data': {'batch_rows': VARIANTS[variant]}}\n"
    )
    assert config.load(path).name == "small"
    assert config.load(f"{path}:large").data.batch_rows == 8
    assert config.load(f"{path}:large", {"data.batch_rows": "2"}).data.batch_rows == 2
    with pytest.raises(config.ConfigError, match=r"small, large; did you mean large\?"):
        config.load(f"{path}:larg")
    with pytest.raises(config.ConfigError, match="no such file"):
        config.load(f"{tmp_path}/rum.py:large")
    path.write_text("def get_config():\n    return {'name': 'x'}\n")
    with pytest.raises(config.ConfigError, match="has no variants"):
        config.load(f"{path}:large")


def test_steps_on_the_command_line_beat_the_epochs_of_the_file(file):
    path = file({"train": {"epochs": 3.0}})
    assert config.load(path).train.epochs == 3.0
    given = config.load(path, {"train.steps": "7"}).train
    assert (given.epochs, given.steps) == (0.0, 7)
    both = config.load(path, {"train.steps": "7", "train.epochs": "2"}).train
    assert (both.epochs, both.steps) == (2.0, 7)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"optim.learning_rat": "1e-5"}, "optim.learning_rat is not a setting; did you mean optim.learning_rate?"),
        ({"learning_rate": "1e-5"}, "did you mean optim.learning_rate?"),
        ({"optim": "3"}, "optim is a group of settings"),
        ({"optim.learning_rate": "fast"}, "optim.learning_rate = 'fast' is str, not float"),
        ({"train.steps": "1.5"}, "train.steps = 1.5 is float, not int"),
        ({"train.steps": "0"}, "train.steps = 0 is out of range (at least 1)"),
        ({"optim.learning_rate": "nan"}, "not float"),
        ({"optim.learning_rate": "1e999"}, "out of range"),
        ({"prep.xicl.rate": "1.5"}, "prep.xicl.rate = 1.5 is out of range (0 to 1)"),
        ({"model.tied_head": "1"}, "model.tied_head = 1 is int, not bool"),
        ({"model.compute_dtype": "bf16"}, "did you mean 'bfloat16'?"),
        ({"eval.languages": "en,sv"}, "eval.languages = 'sv' is not one of"),
    ],
)  # fmt: skip
def test_a_bad_override_names_key_file_and_way_out(file, override, message):
    path = file({"name": "x"})
    with pytest.raises(config.ConfigError) as error:
        config.load(path, override)
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert "command line" in str(error.value)


def test_a_bad_file_is_an_error_of_the_file(file):
    path = file({"optim": {"warmup_step": 3}})
    with pytest.raises(config.ConfigError, match=r"run\.py: optim\.warmup_step is not a setting"):
        config.load(path)
    with pytest.raises(config.ConfigError, match="did you mean .*quickstart_xcot.py"):
        config.load(ROOT / "configs" / "quickstart_xcott.py")
    empty = path.with_name("empty.py")
    empty.write_text("x = 1\n")
    with pytest.raises(config.ConfigError, match="no get_config"):
        config.load(empty)


def test_the_command_line_beats_the_file(file):
    path = file({"seed": 1, "optim": {"learning_rate": 1}})
    assert config.load(path).optim.learning_rate == 1.0
    overrides = config.parse_overrides(["--config.optim.learning_rate=2e-3", "--config.seed=7"])
    settings = config.load(path, overrides)
    assert (settings.optim.learning_rate, settings.seed) == (2e-3, 7)
    assert config.differences(config.load(path), settings) == {
        "seed": (1, 7),
        "optim.learning_rate": (1.0, 2e-3),
    }


def test_arguments_of_another_form_are_errors():
    with pytest.raises(config.ConfigError, match="--config.KEY=VALUE"):
        config.parse_overrides(["--optim.learning_rate=1"])


@given(
    learning_rate=st.floats(0, 1e3),
    steps=st.integers(1, 10**9),
    name=st.text(st.characters(codec="utf-8")),
    languages=st.lists(st.sampled_from(["en", "sw", "te"]), min_size=1, unique=True),
)
def test_settings_survive_saving_and_loading(
    tmp_path_factory, learning_rate, steps, name, languages
):
    settings = Settings(name=name, high_resource=tuple(languages))
    settings = dataclasses.replace(
        settings,
        optim=dataclasses.replace(settings.optim, learning_rate=learning_rate),
        train=dataclasses.replace(settings.train, steps=steps),
    )
    path = tmp_path_factory.mktemp("saved") / "config.json"
    config.save(settings, path)
    assert config.load(path) == settings


def test_every_setting_is_described():
    listing = config.describe()
    for key in ("seed", "prep.mixture.xicl", "loss.beta", "eval.mgsm_dir"):
        assert f"  {key} = " in listing
