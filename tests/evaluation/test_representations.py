"""Retrieval counts what it says; a model's states are those of its own layers, in any batch."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xcot_jax import cli, sharding
from xcot_jax.align import Looker, depths
from xcot_jax.errors import InputError
from xcot_jax.evaluation import alignment_charts
from xcot_jax.evaluation.alignment import (
    CENTRED,
    PAIRS,
    TO_HIGH,
    TO_HIGH_CENTRED,
    Alignment,
    plane,
    retrieved,
    snapshot,
)
from xcot_jax.models import transformer
from xcot_jax.models.config import ModelConfig
from xcot_jax.settings import MeshSettings

CONFIG_FILE = Path(__file__).parents[2] / "configs" / "quickstart_xcot.py"
CONFIG = ModelConfig(
    vocab_size=64, width=32, layers=3, heads=4, kv_heads=2, head_width=8, ffn_width=64,
    compute_dtype="float32",
)  # fmt: skip


def clouds(apart: float, noise: float, languages: int = 3, problems: int = 40) -> np.ndarray:
    """Problems alike in every language but for a shift by language and noise."""
    rng = np.random.default_rng(0)
    meaning = rng.normal(size=(1, problems, 16))
    shift = apart * rng.normal(size=(languages, 1, 16))
    return (meaning + shift + noise * rng.normal(size=(languages, problems, 16))).astype("float32")


def test_retrieval_is_certain_where_meaning_is_shared_and_chance_where_it_is_not() -> None:
    def accuracy(apart: float, noise: float) -> float:
        found = snapshot(1, ("en", "de", "sw"), [clouds(apart, noise)], ("en",))
        return found.accuracy[PAIRS][0]

    assert accuracy(apart=0.0, noise=0.0) == 1.0
    assert accuracy(apart=0.0, noise=100.0) < 0.12  # Chance is 1 / 40.
    near, far = (accuracy(0.5, noise) for noise in (0.2, 1.0))
    assert 1 > near > far > 1 / 40


def test_retrieval_has_a_direction_and_does_not_mind_length() -> None:
    states = np.array([[[1, 0], [0, 1]], [[1, 0.1], [1, 0.2]]], np.float32)
    found = retrieved(states)
    np.testing.assert_array_equal(found.mean(axis=-1), [[1, 1], [0.5, 1]])
    scale = np.array([[[2], [30]], [[0.1], [7]]], np.float32)
    np.testing.assert_array_equal(retrieved(states * scale), found)


def test_the_plane_shows_the_largest_differences_the_same_way_each_time() -> None:
    states = clouds(apart=9.0, noise=0.1)
    found = plane(("en", "de", "sw"), states)
    assert found == plane(("en", "de", "sw"), states)
    assert found.variance[0] > found.variance[1] > 0 and sum(found.variance) < 1
    middles = np.array([np.mean(points, axis=0) for points in found.points.values()])
    spread = np.std(found.points["en"], axis=0).max()
    assert np.linalg.norm(middles[0] - middles[1]) > 3 * spread


def test_centring_takes_away_what_tells_languages_apart() -> None:
    states = clouds(apart=9.0, noise=0.3)
    found = snapshot(1, ("en", "de", "sw"), [states], ("en",)).accuracy
    alike = snapshot(1, ("en", "de", "sw"), [states + 5], ("en",)).accuracy
    assert found[PAIRS][0] < 0.9 < found[CENTRED][0]
    assert alike[CENTRED] == found[CENTRED]
    table = retrieved(states).mean(axis=-1)
    assert found[TO_HIGH][0] == pytest.approx((table[1, 0] + table[2, 0]) / 2)
    assert TO_HIGH not in snapshot(1, ("en", "de"), [states[:2]], ("en", "de")).accuracy


def test_deep_models_are_looked_at_in_places_the_last_layer_among_them() -> None:
    assert depths(3) == (1, 2, 3)
    assert len(depths(32)) == 12 and depths(32)[0] == 1 and depths(32)[-1] == 32


@pytest.fixture(scope="module")
def model():
    """A small decoder over all devices."""
    mesh = sharding.make_mesh(MeshSettings())
    return mesh, transformer.init(CONFIG, 0, mesh)[1]


def test_states_are_those_of_the_decoder_whatever_is_beside_a_prompt(model) -> None:
    mesh, params = model
    rng = np.random.default_rng(1)
    prompts = [rng.integers(0, 64, size=length).tolist() for length in (3, 70, 9, 33, 12)]
    looker = Looker(CONFIG, mesh, rows=1, pad_id=0)
    together = looker.states(params, prompts, depth=3)
    for prompt, state in zip(prompts, together, strict=True):
        tokens = jnp.asarray([prompt], jnp.int32)
        positions = jnp.arange(len(prompt), dtype=jnp.int32)[None]
        decoder = transformer.apply(transformer.graph(CONFIG), params)
        hidden = decoder.hidden_states(tokens, positions, jnp.ones_like(tokens))
        np.testing.assert_allclose(state, hidden[0].mean(axis=0), atol=2e-5)
    other_pad = Looker(CONFIG, mesh, rows=40, pad_id=63).states(params, prompts, depth=3)
    np.testing.assert_allclose(other_pad, together, atol=2e-5)


def test_a_depth_reads_the_first_layers_only(model) -> None:
    mesh, params = model
    looker = Looker(CONFIG, mesh, rows=8, pad_id=0)
    prompts = [[1, 2, 3], [4, 5, 6, 7]]
    two = looker.states(params, prompts, depth=2)
    blocks = jax.tree.map(lambda stack: stack.at[2].mul(3.0), params["blocks"])
    changed = {**params, "blocks": blocks}
    np.testing.assert_array_equal(looker.states(changed, prompts, depth=2), two)
    three = looker.states(params, prompts, depth=3)
    assert np.abs(looker.states(changed, prompts, depth=3) - three).max() > 1e-3
    assert np.abs(two - three).max() > 1e-3


def test_an_alignment_round_trips_and_is_drawn() -> None:
    codes = ("en", "de", "sw")
    before = snapshot(0, codes, [clouds(3.0, 1.0)] * 2, ("en",))
    after = snapshot(9, codes, [clouds(0.5, 0.5), clouds(0.1, 0.1)], ("en",))
    ids = tuple(f"mgsm-{n}" for n in range(40))
    found = Alignment("mgsm", 40, ids, ("en",), (1, 2), before, after)
    assert Alignment.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert after.accuracy[PAIRS][1] == pytest.approx(np.mean(list(after.languages.values())))
    for code, layers in after.problems[PAIRS].items():
        assert np.shape(layers) == (2, 40)
        assert np.mean(layers[1]) == pytest.approx(after.languages[code], abs=1e-4)
    for way, accuracy in after.accuracy.items():
        assert set(after.problems[way]) == ({"de", "sw"} if "low" in way else set(codes))
        of_problems = np.mean(list(after.problems[way].values()), axis=(0, 2))
        np.testing.assert_allclose(of_problems, accuracy, atol=1e-4)
    assert list(after.accuracy) == [PAIRS, CENTRED, TO_HIGH, TO_HIGH_CENTRED]
    later = dataclasses.replace(found, after=before)
    table = alignment_charts.retrieval_table({"sft": [later], "xcot": [found]})
    assert [row[:2] for row in table.rows][::15] == [
        ("sft, before training", PAIRS), ("xcot, after training", TO_HIGH_CENTRED),
    ]  # fmt: skip
    for picture in (
        alignment_charts.retrieval_chart({"sft": [later], "xcot": [found, later]}),
        alignment_charts.plane_chart(alignment_charts.before_and_after(found), ("en",)),
    ):
        assert picture.startswith(b"\x89PNG") and len(picture) > 10_000


def test_the_command_looks_at_a_run_before_and_after_training(dataset, tmp_path, capsys) -> None:
    sizes = {"model.width": 32, "model.layers": 2, "model.heads": 2, "data.row_tokens": 192}
    steps = {"train.steps": 2, "optim.warmup_steps": 1, "data.batch_rows": 8, "data.row_slots": 64}
    changes = sizes | steps | {"data.dir": dataset, "optim.learning_rate": 0.01}
    options = [f"--config.{key}={value}" for key, value in changes.items()]
    run = f"--workdir={tmp_path / 'run'}"
    cli.run(["train", f"--config={CONFIG_FILE}", run, "--no-progress", *options])
    cli.run(["align", run, "--problems=3", "--config.eval.languages=en,th,sw"])
    assert "before training" in capsys.readouterr().out
    data = json.loads((tmp_path / "run" / "eval" / "alignment.json").read_text("utf-8"))
    found = Alignment.from_json(data)
    assert (found.benchmark, found.problems, found.layers) == ("heldout", 3, (1, 2))
    assert (found.before.step, found.after.step) == (0, 2)
    assert list(found.after.languages) == ["en", "th", "sw"]
    assert found.before.plane != found.after.plane
    with pytest.raises(InputError, match="needs two"):
        cli.run(["align", run, "--config.eval.languages=en"])
