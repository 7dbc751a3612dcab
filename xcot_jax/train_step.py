"""The training state and the one jitted step: forward, both losses, backward, update."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Float

from xcot_jax import sharding
from xcot_jax.data.packing import NO_LANGUAGE, Batch
from xcot_jax.errors import InputError
from xcot_jax.losses import LossTerms, Objective, one_pass_loss, weight_totals
from xcot_jax.models import lora, transformer
from xcot_jax.models.config import ModelConfig
from xcot_jax.pytree import pytree


@pytree
class TrainState:
    """What a step reads and writes, and a checkpoint holds; or their shapes, or their shardings.

    Attributes:
      step: optimizer steps done, an integer scalar.
      params: nested dict of what is trained: fp32 master weights, or adapters.
      opt_state: optax state.
      skipped: steps that changed neither, as their loss or gradient was not finite; an integer
        scalar.
    """

    step: Any
    params: Any
    opt_state: Any
    skipped: Any


@pytree
class StepMetrics:
    """What one step measured, over the whole global batch.

    Attributes:
      loss: the objective.
      ce: mean cross-entropy of a response token, in nats.
      kl: mean KL(teacher || student) of a shared answer token, in nats; 0 when beta is.
      ce_sums: cross-entropy summed by language, in the order of `languages.CODES`.
      ce_counts: response tokens by language.
      gradient_norm: global norm before clipping; 0 in evaluation.
    """

    loss: Float[Array | np.ndarray, ""]
    ce: Float[Array | np.ndarray, ""]
    kl: Float[Array | np.ndarray, ""]
    ce_sums: Float[Array | np.ndarray, languages]
    ce_counts: Float[Array | np.ndarray, languages]
    gradient_norm: Float[Array | np.ndarray, ""]


Graph = nnx.GraphDef[transformer.Transformer]
StepFunction = Callable[[TrainState, Any, Batch], tuple[TrainState, StepMetrics]]
"""From the state, the frozen weights and a batch to the next state and what was measured."""


def create_state(
    params: Any, config: ModelConfig, tx: optax.GradientTransformation, mesh: Mesh
) -> TrainState:
    """The state before the first step, its optimizer moments in the shards of their parameters."""
    shardings = state_shardings(config, tx, mesh)
    opt_state = jax.jit(tx.init, out_shardings=shardings.opt_state)(params)
    step, skipped = jax.device_put(
        (jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)), (shardings.step, shardings.skipped)
    )
    return TrainState(step, params, opt_state, skipped)


def abstract_state(config: ModelConfig, tx: optax.GradientTransformation) -> TrainState:
    """The state with shapes in place of arrays."""
    shapes = lora.trained_part(transformer.param_shapes(config), config)
    step = jax.ShapeDtypeStruct((), jnp.int32)
    return TrainState(step, shapes, jax.eval_shape(tx.init, shapes), step)


def state_shardings(
    config: ModelConfig, tx: optax.GradientTransformation, mesh: Mesh
) -> TrainState:
    """Where each part of the state lives: moments with their parameter, scalars everywhere."""
    shapes = lora.trained_part(transformer.param_shapes(config), config)
    axes = lora.trained_part(transformer.logical_axes(config), config)
    params = sharding.tree_shardings(mesh, axes, shapes)
    everywhere = sharding.replicated(mesh)
    # A moment stands in the optimizer's state under the path of its parameter. (optax's own map
    # over parameters does not reach into `optax.partition`.)
    of_parameters = {
        tuple(path): (leaf.shape, where)
        for (path, leaf), where in zip(
            jax.tree.leaves_with_path(shapes), jax.tree.leaves(params), strict=True
        )
    }

    def place(path: tuple, leaf: jax.ShapeDtypeStruct) -> NamedSharding:
        ends = (path[begin:] for begin in range(len(path)))
        shape, where = next(filter(None, map(of_parameters.get, ends)), ((), everywhere))
        return where if shape == leaf.shape else everywhere

    opt_state = jax.tree_util.tree_map_with_path(place, jax.eval_shape(tx.init, shapes))
    return TrainState(everywhere, params, opt_state, everywhere)


def loss_terms(
    graph: Graph,
    params: Any,
    batch: Batch,
    objective: Objective,
    mesh: Mesh | None,
    totals: tuple[Float[Array, ""], Float[Array, ""]] | None = None,
) -> LossTerms:
    """One forward pass over all views of the rows, and the objective on its loss slots.

    Where adapters are trained, the head is frozen and its gradient not computed.
    """
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh) if mesh else contextlib.nullcontext():
        model = transformer.apply(graph, params)
        inputs = map(jnp.asarray, (batch.tokens, batch.positions, batch.segment_ids))
        hidden = model.hidden_states(*inputs)
    return one_pass_loss(
        hidden,
        model.head_matrix(),
        batch.slots,
        objective,
        rule=model.config.logit_rule,
        frozen_head=model.config.lora is not None,
        totals=totals,
        mesh=mesh,
    )


def measure(batch: Batch, terms: LossTerms, gradient_norm: Float[Array, ""]) -> StepMetrics:
    """Weighted sums of the loss entries divided by their weight sums."""
    ce_total, kd_total = weight_totals(batch.slots)
    weighted = batch.slots.ce_weight * terms.ce
    by_language = functools.partial(
        jax.ops.segment_sum,
        segment_ids=batch.languages.reshape(-1),
        num_segments=NO_LANGUAGE + 1,
    )
    return StepMetrics(
        loss=terms.loss,
        ce=weighted.sum() / ce_total,
        kl=(batch.slots.kd_weight * terms.kl).sum() / kd_total,
        ce_sums=by_language(weighted.reshape(-1))[:NO_LANGUAGE],
        ce_counts=by_language(batch.slots.ce_weight.reshape(-1))[:NO_LANGUAGE],
        gradient_norm=gradient_norm,
    )


def gradients(
    graph: Graph,
    config: ModelConfig,
    params: Any,
    frozen: Any,
    batch: Batch,
    objective: Objective,
    mesh: Mesh | None,
    accumulate: int = 1,
    strength: Float[Array, ""] | None = None,
) -> tuple[LossTerms, Any]:
    """The objective of the whole batch and its gradient, one microbatch at a time.

    Every microbatch divides by the weight sums of the whole batch, so that the result does not
    depend on how many there are, however unequal their token counts. The gradient is that of
    `params`, in their type; `frozen` holds what else the model has. `strength` multiplies beta.
    """
    totals = weight_totals(batch.slots)
    if strength is not None:
        kd_weight = jnp.asarray(batch.slots.kd_weight) * strength
        slots = dataclasses.replace(batch.slots, kd_weight=kd_weight)
        batch = dataclasses.replace(batch, slots=slots)

    def objective_of(params: Any, batch: Batch) -> tuple[Float[Array, ""], LossTerms]:
        terms = loss_terms(graph, lora.join(params, frozen), batch, objective, mesh, totals)
        return terms.loss, terms

    cast = transformer.cast_matrices(params, config.dtype)
    as_master = lambda gradient: jax.tree.map(lambda g, p: g.astype(p.dtype), gradient, params)
    differentiate = jax.grad(objective_of, has_aux=True)
    if accumulate == 1:
        gradient, terms = differentiate(cast, batch)
        return terms, as_master(gradient)

    def step(total: Any, microbatch: Batch) -> tuple[Any, LossTerms]:
        gradient, terms = differentiate(cast, microbatch)
        return jax.tree.map(jnp.add, total, as_master(gradient)), terms

    # Row r goes to microbatch r % accumulate: each microbatch then has rows of every device.
    split = jax.tree.map(lambda x: x.reshape(-1, accumulate, *x.shape[1:]).swapaxes(0, 1), batch)
    gradient, terms = jax.lax.scan(step, jax.tree.map(jnp.zeros_like, params), split)
    join = lambda x: x.swapaxes(0, 1).reshape(-1, *x.shape[2:])
    return LossTerms(terms.loss.sum(), join(terms.ce), join(terms.kl)), gradient


def make_train_step(
    graph: Graph,
    config: ModelConfig,
    tx: optax.GradientTransformation,
    objective: Objective,
    mesh: Mesh,
    *,
    rows: int,
    accumulate: int = 1,
) -> StepFunction:
    """Compiles on first use to one program for the whole mesh; the given state is consumed.

    Where the loss or the gradient is not finite, the step only counts: weights and moments stay.

    Raises:
      InputError: if rows do not divide by microbatches and devices.
    """
    ways = sharding.batch_ways(mesh)
    if rows % (accumulate * ways):
        raise InputError(
            f"data.batch_rows={rows} does not divide by optim.accumulate={accumulate} times the "
            f"{ways} ways the mesh splits rows; use a multiple of {accumulate * ways}"
        )

    def train_step(state: TrainState, frozen: Any, batch: Batch) -> tuple[TrainState, StepMetrics]:
        strength = None
        if objective.warmup_steps:
            done = (state.step + 1).astype(jnp.float32)
            strength = jnp.minimum(done / objective.warmup_steps, 1.0)
        terms, gradient = gradients(
            graph, config, state.params, frozen, batch, objective, mesh, accumulate, strength
        )
        with jax.numpy_dtype_promotion("standard"):  # optax raises floats to integer powers.
            updates, opt_state = tx.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = measure(batch, terms, optax.tree.norm(gradient))
        finite = jnp.isfinite(metrics.loss) & jnp.isfinite(metrics.gradient_norm)
        keep = lambda new, old: jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, old)
        state = TrainState(
            state.step + 1,
            keep(params, state.params),
            keep(opt_state, state.opt_state),
            state.skipped + (~finite).astype(jnp.int32),
        )
        return state, metrics

    where = state_shardings(config, tx, mesh)
    shapes = lora.frozen_part(transformer.param_shapes(config), config)
    axes = lora.frozen_part(transformer.logical_axes(config), config)
    frozen = sharding.tree_shardings(mesh, axes, shapes)
    return jax.jit(
        train_step,
        in_shardings=(where, frozen, sharding.batch_sharding(mesh)),
        out_shardings=(where, sharding.replicated(mesh)),
        donate_argnums=0,
    )


def make_eval_step(
    graph: Graph, objective: Objective, mesh: Mesh
) -> Callable[[Any, Batch], StepMetrics]:
    """The same measurements without gradients."""

    def eval_step(params: Any, batch: Batch) -> StepMetrics:
        terms = loss_terms(graph, params, batch, objective, mesh)
        return measure(batch, terms, jnp.zeros((), jnp.float32))

    return jax.jit(eval_step, out_shardings=sharding.replicated(mesh))
