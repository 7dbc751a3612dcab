"""The decoder: segments are alone, packing changes nothing, and neither do remat, cache or mesh."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from xcot_jax import sharding
from xcot_jax.models import transformer
from xcot_jax.models.cache import Cache
from xcot_jax.models.config import ModelConfig
from xcot_jax.settings import MeshSettings

CONFIG = ModelConfig(
    vocab_size=96,
    width=64,
    layers=3,
    heads=4,
    kv_heads=2,
    head_width=32,
    ffn_width=96,
    compute_dtype="float32",
)
GRAPH = transformer.graph(CONFIG)


def one_device():
    return sharding.make_mesh(MeshSettings(), jax.devices()[:1])


@pytest.fixture(scope="module")
def params():
    return transformer.init(CONFIG, 0, one_device())[1]


def packed(lengths, width, seed=0):
    """One row of segments with random tokens, padded to `width`: tokens, positions, segments."""
    rng = np.random.default_rng(seed)
    used = sum(lengths)
    tokens = np.zeros((1, width), np.int32)
    positions, segments = np.zeros_like(tokens), np.zeros_like(tokens)
    tokens[0, :used] = rng.integers(1, CONFIG.vocab_size, used)
    positions[0, :used] = [place for length in lengths for place in range(length)]
    segments[0, :used] = np.repeat(np.arange(len(lengths)) + 1, lengths)
    return tokens, positions, segments


def packed_arrays(lengths, width):
    return jax.tree.map(jnp.asarray, packed(lengths, width))


@jax.jit
def hidden_states(params, tokens, positions, segments):
    return transformer.apply(GRAPH, params).hidden_states(tokens, positions, segments)


@pytest.mark.parametrize("width", [96, 300])
def test_other_segments_do_not_change_a_bit(params, width):
    lengths = (20, 31, 25) if width == 96 else (90, 130, 60)
    tokens, positions, segments = packed(lengths, width)
    before = np.asarray(hidden_states(params, tokens, positions, segments))
    changed = tokens.copy()
    changed[segments == 2] = (changed[segments == 2] + 7) % CONFIG.vocab_size
    after = np.asarray(hidden_states(params, changed, positions, segments))
    for segment in (1, 3):
        np.testing.assert_array_equal(after[segments == segment], before[segments == segment])
    assert (after[segments == 2] != before[segments == 2]).any(axis=-1).all()


def test_packed_equals_unpacked(params):
    lengths = (17, 140, 33)
    tokens, positions, segments = packed(lengths, 200)
    together = np.asarray(hidden_states(params, tokens, positions, segments))
    start = 0
    for length in lengths:
        part = slice(start, start + length)
        alone = hidden_states(
            params, tokens[:, part], positions[:, part], np.ones((1, length), np.int32)
        )
        np.testing.assert_allclose(together[:, part], alone, atol=2e-5)
        start += length


def test_the_future_has_no_influence(params):
    tokens, positions, segments = packed((150,), 160)
    before = np.asarray(hidden_states(params, tokens, positions, segments))
    changed = tokens.copy()
    changed[0, 100] += 1
    after = np.asarray(hidden_states(params, changed, positions, segments))
    np.testing.assert_array_equal(after[:, :100], before[:, :100])
    assert (after[:, 100:150] != before[:, 100:150]).any(axis=-1).all()


def test_positions_enter_as_distances_only(params):
    tokens, positions, segments = packed((40,), 40)
    near = hidden_states(params, tokens, positions, segments)
    far = hidden_states(params, tokens, positions + 100, segments)
    np.testing.assert_allclose(far, near, atol=2e-4)


def test_rows_of_padding_are_finite_in_value_and_gradient(params):
    batch = jax.tree.map(
        lambda *rows: jnp.concatenate(rows), packed_arrays((9,), 32), packed_arrays((), 32)
    )

    def loss(params):
        hidden = transformer.apply(GRAPH, params).hidden_states(*batch)
        return jnp.sum(jnp.square(hidden))

    value, gradient = jax.jit(jax.value_and_grad(loss))(params)
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("remat", ["dots", "full"])
def test_rematerialised_gradients_are_the_same(params, remat):
    batch = packed_arrays((20, 12), 40)

    def gradients(remat):
        graph = transformer.graph(dataclasses.replace(CONFIG, remat=remat))

        def loss(params):
            model = transformer.apply(graph, params)
            return jnp.mean(jnp.square(model.logits(model.hidden_states(*batch))))

        return jax.jit(jax.grad(loss))(params)

    for ours, plain in zip(
        jax.tree.leaves(gradients(remat)), jax.tree.leaves(gradients("none")), strict=True
    ):
        np.testing.assert_allclose(ours, plain, rtol=1e-5, atol=1e-8)


def test_prefill_and_decode_repeat_the_whole_pass(params):
    tokens, positions, segments = packed_arrays((24,), 24)
    whole = hidden_states(params, tokens, positions, segments)[0]
    model = transformer.apply(GRAPH, params)
    # The same text in two rows, which are at different places of it; row 1 is nobody's.
    lengths, rows = jnp.array([10, 13, 4], jnp.int32), jnp.array([2, 0, 3], jnp.int32)
    first, read = model.prefill(jnp.tile(tokens[:, :16], (3, 1)), lengths)
    cache = Cache.empty(CONFIG, 3, 48).with_rows(rows, read).resized(24)
    np.testing.assert_allclose(first, whole[lengths - 1], atol=2e-5)
    for step in range(10):
        at = jnp.array([13 + step, 0, 10 + step], jnp.int32)
        hidden, cache = model.decode(tokens[0][at], at, cache)
        np.testing.assert_allclose(hidden[::2], whole[at[::2]], atol=2e-5)


def test_the_same_parameters_serve_both_compute_types(params):
    batch = packed_arrays((20, 12), 40)
    graph = transformer.graph(dataclasses.replace(CONFIG, compute_dtype="bfloat16"))
    model = transformer.apply(graph, params)
    hidden = model.hidden_states(*batch)
    exact = hidden_states(params, *batch)
    assert hidden.dtype == jnp.bfloat16
    assert model.logits(hidden).dtype == jnp.float32
    error = jnp.linalg.norm(hidden.astype(jnp.float32) - exact) / jnp.linalg.norm(exact)
    assert error < 0.02


def test_a_tied_head_is_the_embedding():
    config = dataclasses.replace(CONFIG, tied_head=True)
    graph, params = transformer.init(config, 0, one_device())
    assert "head" not in params
    head = transformer.apply(graph, params).head_matrix()
    np.testing.assert_array_equal(head, params["embedding"].T)


@pytest.mark.parametrize("tied_head", [False, True])
def test_fresh_weights_predict_nothing_and_pass_variance_on(tied_head):
    config = dataclasses.replace(CONFIG, tied_head=tied_head)
    graph, params = transformer.init(config, 0, one_device())
    model = transformer.apply(graph, params)
    logits = model.logits(model.hidden_states(*packed_arrays((64,), 64)))
    assert float(jnp.std(logits)) < 0.5
    # Each layer has weights of its own.
    query = params["blocks"]["attention"]["query"]["weight"]
    assert not np.allclose(query[0], query[1])


@pytest.mark.parametrize(
    "mesh_settings",
    [
        MeshSettings(fsdp=8),
        MeshSettings(data=2, fsdp=2, tensor=2),
        MeshSettings(fsdp=1, tensor=8),
    ],
    ids=["fsdp", "all axes", "tensor"],
)
def test_eight_devices_equal_one(params, mesh_settings):
    mesh = sharding.make_mesh(mesh_settings)
    graph, spread = transformer.init(CONFIG, 0, mesh)
    jax.tree.map(np.testing.assert_array_equal, spread, params)

    rows = [packed((11 + row, 20), 48, seed=row) for row in range(8)]
    batch = [np.concatenate(arrays) for arrays in zip(*rows, strict=True)]

    def loss(params, *batch):
        model = transformer.apply(graph, params)
        hidden = model.hidden_states(*batch)
        return jnp.mean(jnp.square(model.logits(hidden))), hidden

    step = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (_, hidden), gradient = step(params, *batch)
    with jax.set_mesh(mesh):
        placed = jax.device_put(batch, sharding.batch_sharding(mesh))
        (_, spread_hidden), spread_gradient = step(spread, *placed)
    np.testing.assert_allclose(spread_hidden, hidden, atol=1e-5)
    for ours, theirs in zip(
        jax.tree.leaves(spread_gradient), jax.tree.leaves(gradient), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-7)


def test_parameters_are_made_in_their_shards():
    mesh = sharding.make_mesh(MeshSettings(fsdp=4, tensor=2))
    _, params = transformer.init(CONFIG, 0, mesh)
    gate = params["blocks"]["ffn"]["gate"]["weight"]
    assert gate.sharding.spec == PartitionSpec(None, "fsdp", "tensor")
    assert gate.addressable_shards[0].data.shape == (3, 64 // 4, 96 // 2)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))


def test_every_parameter_has_logical_axes_that_fit():
    shapes, axes = transformer.param_shapes(CONFIG), transformer.logical_axes(CONFIG)
    jax.tree.map(lambda leaf, names: [leaf.ndim, *names], shapes, axes)
    for leaf, names in zip(
        jax.tree.leaves(shapes),
        jax.tree.leaves(axes, is_leaf=lambda node: isinstance(node, tuple)),
        strict=True,
    ):
        assert len(leaf.shape) == len(names)
        assert set(names) <= set(sharding.RULES)
