"""Muon reads each matrix of a block as one; all else is AdamW's, moments in their places."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from xcot_jax import sharding
from xcot_jax.models import lora, transformer
from xcot_jax.models.config import Lora, ModelConfig
from xcot_jax.optimizer import optimizer
from xcot_jax.settings import MeshSettings, OptimSettings
from xcot_jax.train_step import abstract_state, state_shardings

INPUTS = {"key": 32, "query": 32, "value": 32, "output": 32, "gate": 32, "up": 32, "down": 64}
CONFIG = ModelConfig(
    vocab_size=64, width=32, layers=3, heads=4, kv_heads=2, head_width=8, ffn_width=64,
    compute_dtype="float32", qkv_bias=True,
)  # fmt: skip
ADAPTED = dataclasses.replace(CONFIG, lora=Lora(4, 4.0, tuple(INPUTS)))
MUON = OptimSettings(name="muon", learning_rate=0.1, warmup_steps=0, weight_decay=0.0, clip_norm=0)


def updates_of(config, settings):
    """The first update of every trained parameter, for random gradients."""
    axes = lora.trained_part(transformer.logical_axes(config), config)
    shapes = lora.trained_part(transformer.param_shapes(config), config)
    rng = np.random.default_rng(0)
    gradient = jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape), jnp.float32), shapes)
    params = jax.tree.map(lambda s: jnp.zeros(s.shape, jnp.float32), shapes)
    return dict(jax.tree.leaves_with_path(updated(settings, axes, gradient, params)))


def updated(settings, axes, gradient, params):
    tx = optimizer(settings, 10, axes)
    with jax.numpy_dtype_promotion("standard"):  # As in the training step.
        return tx.update(gradient, tx.init(params), params)[0]


def named(updates, last):
    return {path[-2].key: leaf for path, leaf in updates.items() if path[-1].key == last}


def scaled_to_one(matrix):
    """Less the rate and Muon's scale: singular values about 1."""
    return matrix / (0.1 * 0.2 * np.sqrt(max(matrix.shape)))


def test_updates_of_matrices_are_orthogonal_in_every_layer():
    updates = updates_of(CONFIG, MUON)
    found = named(updates, "weight")
    assert set(found) == set(INPUTS)
    for name, stack in found.items():
        for layer in np.asarray(stack):
            matrix = scaled_to_one(layer.reshape(INPUTS[name], -1))
            values = np.linalg.svd(matrix, compute_uv=False)
            # Five rounds of Newton and Schulz leave all but the smallest between 0.7 and 1.2.
            assert np.quantile(values, 0.1) > 0.6 and values.max() < 1.3, name


def test_adapters_are_matrices_too():
    updates = updates_of(ADAPTED, MUON)
    for last in ("adapter_a", "adapter_b"):
        for name, stack in named(updates, last).items():
            layer = np.asarray(stack)[0]
            matrix = layer.reshape(-1, 4) if last == "adapter_a" else layer.reshape(4, -1)
            values = np.linalg.svd(scaled_to_one(matrix), compute_uv=False)
            assert values.min() > 0.6 and values.max() < 1.3, (name, last)


def test_all_else_is_adamw():
    muon = updates_of(CONFIG, MUON)
    adamw = updates_of(CONFIG, dataclasses.replace(MUON, name="adamw"))
    for path, update in adamw.items():
        same = np.allclose(update, muon[path], rtol=1e-6)
        assert same == (path[-1].key != "weight"), jax.tree_util.keystr(path)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_matrices_decay_and_scales_and_biases_do_not(name):
    settings = dataclasses.replace(MUON, name=name, weight_decay=0.5)
    axes = transformer.logical_axes(CONFIG)
    params = jax.tree.map(
        lambda s: jnp.ones(s.shape, jnp.float32), transformer.param_shapes(CONFIG)
    )
    updates = updated(settings, axes, optax.tree.zeros_like(params), params)
    for path, update in jax.tree.leaves_with_path(updates):
        decayed = path[-1].key not in ("scale", "bias")
        np.testing.assert_allclose(update, -0.05 if decayed else 0.0, atol=1e-6)


@pytest.mark.parametrize("name", ["adamw", "muon"])
@pytest.mark.parametrize("config", [CONFIG, ADAPTED], ids=["whole", "adapters"])
def test_moments_lie_where_their_parameters_do(config, name):
    mesh = sharding.make_mesh(MeshSettings(data=2, fsdp=2, tensor=2))
    axes = lora.trained_part(transformer.logical_axes(config), config)
    tx = optimizer(dataclasses.replace(MUON, name=name), 10, axes)
    where = state_shardings(config, tx, mesh)
    state = abstract_state(config, tx)
    places = {tuple(path): leaf for path, leaf in jax.tree.leaves_with_path(where.params)}
    moments = 0
    for (path, leaf), place in zip(
        jax.tree.leaves_with_path(state.opt_state), jax.tree.leaves(where.opt_state), strict=True
    ):
        if leaf.ndim < 2 or "ns_coeffs" in jax.tree_util.keystr(path):
            continue
        (mine,) = [placed for of, placed in places.items() if path[-len(of) :] == of]
        assert place == mine
        moments += 1
    one = ("weight", "adapter_a", "adapter_b") if name == "muon" else ()  # Muon has one moment.
    wanted = [
        1 if path[-1].key in one else 2
        for path, leaf in jax.tree.leaves_with_path(state.params)
        if leaf.ndim >= 2
    ]
    assert moments == sum(wanted)
