"""The jitted step: packing, devices, microbatches and a zero beta change only what they should."""

from __future__ import annotations

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.corpus import group
from xcot_jax import sharding
from xcot_jax.data.loader import Loader, place
from xcot_jax.data.packing import capacities, encode_group, finish_row, to_batch
from xcot_jax.errors import InputError
from xcot_jax.losses import Objective
from xcot_jax.models import transformer
from xcot_jax.models.config import ModelConfig
from xcot_jax.optimizer import optimizer
from xcot_jax.settings import DataSettings, MeshSettings, OptimSettings, Settings
from xcot_jax.train_step import create_state, gradients, loss_terms, make_eval_step, make_train_step

GROUPS = [group(n, students=1 + n % 2, preamble=n % 3 == 0) for n in range(40)]
SETTINGS = Settings(
    data=DataSettings(row_tokens=224, row_slots=80, batch_rows=8, packing_bins=8, students=2)
)
OBJECTIVE = Objective(beta=0.5, temperature=2.0)


@pytest.fixture(scope="module")
def config(tokenizer):
    return ModelConfig(
        vocab_size=tokenizer.vocab_size,
        width=32,
        layers=2,
        heads=4,
        kv_heads=2,
        head_width=8,
        ffn_width=64,
        tied_head=True,
        compute_dtype="float32",
    )


@pytest.fixture(scope="module")
def mesh():
    return sharding.make_mesh(MeshSettings(fsdp=1), jax.devices()[:1])


@pytest.fixture(scope="module")
def model(config, mesh):
    return transformer.init(config, 0, mesh)


@pytest.fixture(scope="module")
def batches(tokenizer):
    return list(itertools.islice(Loader(SETTINGS, tokenizer, GROUPS), 4))


def on(batch, mesh):
    return place(batch.rows, sharding.batch_sharding(mesh))


def close(a, b, tolerance):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        assert np.linalg.norm(x - y) <= tolerance * max(np.linalg.norm(y), 1e-12)


def alone(tokenizer, group, columns=3):
    """A batch of one row that holds one group; all such rows have one length."""
    lengths = capacities(SETTINGS.data.row_tokens, SETTINGS.data.row_slots)
    row = {}
    for name, value in encode_group(group, tokenizer, columns).items():
        room = [(0, lengths[name] - len(value))] + [(0, 0)] * (value.ndim - 1)
        row[name] = np.pad(value, room)
        row[f"{name}_segment_ids"] = np.pad(np.ones(len(value), np.int32), room[0])
    return to_batch({name: jnp.asarray(value)[None] for name, value in finish_row(row).items()})


def test_packed_rows_have_the_loss_and_gradient_of_groups_alone(tokenizer, config, model, batches):
    graph, params = model
    rows = batches[0].rows
    packed = to_batch({name: jnp.asarray(value) for name, value in rows.items()})
    terms, gradient = jax.jit(lambda p, b: gradients(graph, config, p, {}, b, OBJECTIVE, None))(
        params, packed
    )
    ce_total, kd_total = rows["ce_weight"].sum(), rows["kd_weight"].sum()

    @jax.jit
    def part(params, batch):
        totals = jnp.float32(ce_total), jnp.float32(kd_total)
        compute = lambda p: loss_terms(graph, p, batch, OBJECTIVE, None, totals).loss
        return jax.value_and_grad(compute)(params)

    loss, total = 0.0, jax.tree.map(jnp.zeros_like, params)
    for record in rows["records"][rows["records"] >= 0]:
        value, piece = part(params, alone(tokenizer, GROUPS[record]))
        loss, total = loss + float(value), jax.tree.map(jnp.add, total, piece)
    assert float(terms.loss) == pytest.approx(loss, rel=1e-5)
    close(gradient, total, 1e-5)


def test_changing_one_view_leaves_the_logits_of_the_others_bitwise_unchanged(model, batches):
    graph, params = model
    batch = to_batch({name: jnp.asarray(value) for name, value in batches[0].rows.items()})

    @jax.jit
    def logits(params, batch):
        decoder = transformer.apply(graph, params)
        hidden = decoder.hidden_states(batch.tokens, batch.positions, batch.segment_ids)
        return decoder.logits(hidden)

    changed = batch.segment_ids == 2
    other = dataclasses.replace(batch, tokens=jnp.where(changed, 7, batch.tokens))
    before, after = np.asarray(logits(params, batch)), np.asarray(logits(params, other))
    kept = np.asarray((batch.segment_ids > 0) & ~changed)
    np.testing.assert_array_equal(before[kept], after[kept])
    assert not np.array_equal(before[np.asarray(changed)], after[np.asarray(changed)])


def test_zero_beta_is_plain_instruction_tuning_bitwise(config, model, batches):
    graph, params = model
    batch = to_batch({name: jnp.asarray(value) for name, value in batches[0].rows.items()})
    slots = dataclasses.replace(batch.slots, kd_weight=jnp.zeros_like(batch.slots.kd_weight))
    plain = dataclasses.replace(batch, slots=slots)
    compute = jax.jit(gradients, static_argnums=(0, 1, 5, 6))
    terms, gradient = compute(graph, config, params, {}, batch, Objective(beta=0.0), None)
    sft_terms, sft_gradient = compute(graph, config, params, {}, plain, Objective(beta=0.5), None)
    assert float(terms.loss) == float(sft_terms.loss)
    jax.tree.map(np.testing.assert_array_equal, gradient, sft_gradient)


def run(config, model, mesh, batches, *, steps, accumulate=1, **optim):
    """Losses and final parameters of a few steps."""
    graph, params = model
    settings = OptimSettings(**{"learning_rate": 1e-2, "warmup_steps": 2} | optim)
    axes = transformer.logical_axes(config)
    tx = optimizer(settings, steps, axes)
    shardings = sharding.tree_shardings(mesh, axes, transformer.param_shapes(config))
    # A copy: the step consumes its state.
    params = jax.tree.map(lambda x, where: jax.device_put(np.array(x), where), params, shardings)
    state = create_state(params, config, tx, mesh)
    step = make_train_step(graph, config, tx, OBJECTIVE, mesh, rows=8, accumulate=accumulate)
    losses = []
    for number in range(steps):
        state, metrics = step(state, {}, on(batches[number % len(batches)], mesh))
        losses.append(float(metrics.loss))
    assert int(state.step) == steps
    return losses, jax.device_get(state.params)


def uneven(batch):
    """The same with most of the loss weight of some rows taken away."""
    keep = np.array([1, 0.25, 1, 0, 1, 1, 0.5, 1], np.float32)[:, None, None]
    rows = {k: v * keep if k.endswith("_weight") else v for k, v in batch.rows.items()}
    return dataclasses.replace(batch, rows=rows)


def test_eight_rows_at_once_equal_eight_accumulated_over_fifty_steps(config, model, mesh, batches):
    batches = [uneven(batch) for batch in batches]
    whole, _ = run(config, model, mesh, batches, steps=50, learning_rate=1e-3)
    parts, _ = run(config, model, mesh, batches, steps=50, accumulate=8, learning_rate=1e-3)
    np.testing.assert_allclose(whole, parts, rtol=2e-4)
    np.testing.assert_allclose(whole[:5], parts[:5], rtol=1e-6)
    assert whole[-1] < whole[0] - 0.5


@pytest.mark.parametrize(
    "axes", [{"fsdp": 8}, {"data": 8, "fsdp": 1}, {"data": 2, "fsdp": 2, "tensor": 2}]
)
def test_one_device_equals_eight(config, model, mesh, batches, axes):
    single, params = run(config, model, mesh, batches, steps=4)
    eight = sharding.make_mesh(MeshSettings(**axes))
    several, sharded = run(config, model, eight, batches, steps=4)
    np.testing.assert_allclose(single, several, rtol=1e-5)
    close(sharded, params, 1e-4)


def test_muon_on_one_device_equals_muon_on_eight(config, model, mesh, batches):
    single, params = run(config, model, mesh, batches, steps=4, name="muon")
    eight = sharding.make_mesh(MeshSettings(data=2, fsdp=2, tensor=2))
    several, sharded = run(config, model, eight, batches, steps=4, name="muon")
    np.testing.assert_allclose(single, several, rtol=1e-4)
    close(sharded, params, 1e-2)  # Rounding turns a direction that has hardly any gradient.
    assert single[-1] < single[0]


def test_evaluation_measures_what_training_does(config, model, mesh, batches):
    graph, params = model
    batch = on(batches[0], mesh)
    measured = make_eval_step(graph, OBJECTIVE, mesh)(params, batch)
    terms, _ = gradients(graph, config, params, {}, batch, OBJECTIVE, mesh)
    assert float(measured.loss) == pytest.approx(float(terms.loss), rel=1e-6)
    assert float(measured.ce_counts.sum()) == batches[0].rows["ce_weight"].sum()
    assert float(measured.ce_sums.sum() / measured.ce_counts.sum()) == pytest.approx(
        float(measured.ce), rel=1e-6
    )
    assert float(measured.kl) > 0


def test_beta_rises_over_its_warm_up(config, model, mesh, batches):
    graph, params = model
    batch = on(batches[0], mesh)
    tx = optimizer(OptimSettings(), 9, transformer.logical_axes(config))
    found = {}
    for warmup, beta in ((0, 0.5), (0, 0.125), (4, 0.5)):
        objective = dataclasses.replace(OBJECTIVE, beta=beta, warmup_steps=warmup)
        state = create_state(jax.tree.map(jnp.copy, params), config, tx, mesh)
        step = make_train_step(graph, config, tx, objective, mesh, rows=8)
        _, found[warmup, beta] = step(state, {}, batch)
    first, quarter = found[4, 0.5], found[0, 0.125]
    assert float(first.loss) == pytest.approx(float(quarter.loss), rel=1e-6)
    assert float(first.gradient_norm) == pytest.approx(float(quarter.gradient_norm), rel=1e-6)
    assert float(first.kl) == pytest.approx(float(found[0, 0.5].kl), rel=1e-6)
    assert float(first.loss) < float(found[0, 0.5].loss)


def test_rows_that_do_not_divide_are_an_error(config, model):
    graph, _ = model
    tx = optimizer(OptimSettings(), 1, transformer.logical_axes(config))
    with pytest.raises(InputError, match="multiple of 24"):
        make_train_step(
            graph,
            config,
            tx,
            OBJECTIVE,
            sharding.make_mesh(MeshSettings()),
            rows=8,
            accumulate=3,
        )


def test_gradients_in_bfloat16_are_those_of_the_master_weights(config, model, batches, mesh):
    graph, params = model
    half = dataclasses.replace(config, compute_dtype="bfloat16")
    batch, half_graph = on(batches[0], mesh), transformer.graph(half)
    _, gradient = jax.jit(
        lambda p, b: gradients(half_graph, half, p, {}, b, OBJECTIVE, mesh, accumulate=2)
    )(params, batch)
    uncast = lambda p, b: loss_terms(half_graph, p, b, OBJECTIVE, mesh).loss
    wanted = jax.jit(jax.grad(uncast))(params, batch)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(gradient))
    for got, want in zip(jax.tree.leaves(gradient), jax.tree.leaves(wanted), strict=True):
        assert np.linalg.norm(got - want) < 0.02 * np.linalg.norm(want)
