"""Whether a run's training step fits a TPU topology, and the least time it takes there.

The step is the one that `xcot train` runs, compiled by the TPU's own compiler on any machine.
Neither the dataset nor the tokenizer nor the checkpoint has to be there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from xcot_jax import compiled, devices, sharding, tpu, weights
from xcot_jax.compiled import CompiledStep, OutOfMemoryError, RowShape
from xcot_jax.data import loader
from xcot_jax.errors import InputError
from xcot_jax.losses import Objective
from xcot_jax.models.config import ModelConfig
from xcot_jax.models.presets import PRESETS
from xcot_jax.models.selection import from_settings
from xcot_jax.roofline import Roofline, Work, roofline, step_flops
from xcot_jax.row_search import most_rows
from xcot_jax.settings import Settings


@dataclasses.dataclass(frozen=True)
class Certificate:
    """What the compiler says about a run's step on a topology.

    Attributes:
      settings: of the run.
      config: its decoder.
      topology: its name.
      mesh: size of each mesh axis.
      shares: bytes of a chip's share of each argument, by shapes and shardings, without padding.
      capacity: bytes of a chip that programs may use.
      step: the compiled step; None if it does not fit.
      refusal: why it does not fit; empty if it does.
      most: the most rows a chip holds at once and their step, if that was searched for.
    """

    settings: Settings
    config: ModelConfig
    topology: str
    mesh: dict[str, int]
    shares: dict[str, int]
    capacity: int
    step: CompiledStep | None
    refusal: str
    most: tuple[int, CompiledStep | None] | None

    @property
    def ways(self) -> int:
        """Chips, or groups of `mesh.tensor` of them, that have rows of their own."""
        return self.mesh["data"] * self.mesh["fsdp"]

    @property
    def rows_at_once(self) -> int:
        """Rows of one microbatch that such a chip or group has."""
        return self.settings.data.batch_rows // (self.ways * self.settings.optim.accumulate)


def certify(
    settings: Settings,
    topology: str,
    *,
    search: bool = False,
    told: Callable[[str], None] = lambda line: None,
) -> Certificate:
    """Compiles the step of a run for a topology.

    Args:
      settings: of the run.
      topology: such as "v5e:8x8"; see `tpu.topology_devices`.
      search: whether to look for the most rows a chip holds, which compiles a few times more.
      told: gets a line about each compilation.

    Raises:
      InputError: for an unknown topology, a mesh that is not the topology's, rows that do not
        divide over it, or a model that is not told.
    """
    config = decoder(settings)
    mesh = sharding.make_mesh(settings.mesh, tpu.topology_devices(topology))
    _, arguments = compiled.abstract_step(config, mesh, **inputs(settings))
    state, frozen, batch = arguments
    trees = (state.params, state.opt_state, frozen, batch)
    shares = dict(zip(compiled.PARTS.values(), map(compiled.share_bytes, trees), strict=True))
    capacity = int(tpu.GENERATIONS[topology.partition(":")[0]].hbm)
    unit = sharding.batch_ways(mesh) * settings.optim.accumulate
    asked = settings.data.batch_rows // unit
    refusals: dict[int, str] = {}
    steps: dict[int, CompiledStep] = {}

    def need(rows: int) -> float | None:
        if rows not in steps and rows not in refusals:
            try:
                step = compiled.compile_step(
                    config, settings.mesh, topology, **inputs(settings) | {"rows": rows * unit}
                )
            except OutOfMemoryError as error:
                refusals[rows] = str(error)
                told(f"{rows} rows a chip: more than a chip's memory")
            else:
                steps[rows] = step
                told(f"{rows} rows a chip: {step.memory.total / 2**30:.2f} GiB")
        return steps[rows].memory.total if rows in steps else None

    need(asked)
    most = None
    if search:
        rows = most_rows(need, capacity, asked)
        most = rows, steps.get(rows)
    return Certificate(
        settings,
        config,
        topology,
        dict(mesh.shape),
        shares,
        capacity,
        steps.get(asked),
        refusals.get(asked, ""),
        most,
    )


def decoder(settings: Settings) -> ModelConfig:
    """The decoder of a run of which perhaps nothing but the settings is there yet.

    Sizes come from the checkpoint if it is there, or else from the preset; the vocabulary, too, or
    from the tokenizer that the run trains or has.

    Raises:
      InputError: if the settings do not tell them.
    """
    model = settings.model
    if model.init_from and (not model.preset or (weights.base_directory(settings)).is_dir()):
        return from_settings(model, 1, weights.base_config(settings))
    vocabulary = model.vocab_size
    if not vocabulary and settings.prep.tokenizer.train:
        vocabulary = settings.prep.tokenizer.vocab_size
    if not vocabulary and model.preset in PRESETS:
        vocabulary = PRESETS[model.preset].vocab_size
    if not vocabulary and not model.preset:
        if not model.width:
            raise InputError(
                "model.preset, model.init_from and model.width are empty: there is no model to "
                "compile; set --config.model.preset=NAME or --config.model.init_from=DIR"
            )
        vocabulary = loader.find_tokenizer(settings).vocab_size
    return from_settings(model, vocabulary)


def inputs(settings: Settings) -> dict[str, Any]:
    """What `compiled.abstract_step` and `compile_step` take of the settings."""
    data = settings.data
    return {
        "rows": data.batch_rows,
        "row": RowShape(data.row_tokens, data.row_slots, data.students + 1),
        "objective": Objective(**vars(settings.loss)),
        "optim": settings.optim,
        "frozen_dtype": settings.model.lora.base_dtype,
    }


def estimate(certificate: Certificate, step: CompiledStep) -> tuple[Work, Roofline]:
    """A chip's work in a step of the certificate's, and the bounds of its time."""
    data = certificate.settings.data
    model_flops, flops = step_flops(
        certificate.config,
        rows=step.rows,
        tokens=data.row_tokens,
        slots=data.row_slots,
        columns=data.students + 1,
    )
    work = Work(
        model_flops / step.chips,
        flops / step.chips,
        step.hbm_bytes,
        sum(step.sent_by_kind().values()),
    )
    kind = devices.kind_of(tpu.topology_devices(step.topology)[0])
    assert kind
    return work, roofline(work, kind)
