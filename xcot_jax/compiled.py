"""The training step as a TPU topology's compiler makes it: memory of a chip, and what chips send.

`libtpu` compiles for any topology on any machine, and nothing is allocated: the step is lowered
from shapes that carry shardings. What does not fit into a chip's memory is the compiler's error,
which tells how much it would have needed.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import os
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import Mesh

from xcot_jax import hlo, sharding
from xcot_jax.data.packing import Batch
from xcot_jax.errors import InputError
from xcot_jax.losses import LossSlots, Objective
from xcot_jax.models import lora, transformer
from xcot_jax.models.config import ModelConfig
from xcot_jax.optimizer import optimizer
from xcot_jax.settings import MeshSettings, OptimSettings
from xcot_jax.train_step import abstract_state, make_train_step, state_shardings

ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    # Any: the topology's name decides. Without one libtpu warns at every start.
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
}
"""What libtpu has to be told where there is no TPU; read when it is loaded."""


@dataclasses.dataclass(frozen=True)
class Generation:
    """A kind of TPU.

    Attributes:
      example: a topology of 64 chips, "x" between the lengths of its sides.
      hbm: bytes of a chip's memory that the compiler gives to programs.
      options: what libtpu has to know beside the lengths. The two cores of a v4 chip work as one.
    """

    example: str
    hbm: float
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


GENERATIONS: dict[str, Generation] = {
    "v4": Generation("4x4x4", 30.75 * 2**30, {"chip_config_name": "megacore"}),
    "v5e": Generation("8x8", 15.75 * 2**30),
    "v5p": Generation("4x4x4", 95.73 * 2**30),
    "v6e": Generation("8x8", 31.24 * 2**30),
}
"""The TPUs that can be compiled for; a topology is named "generation:lengths"."""

_UNITS = {"B": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclasses.dataclass(frozen=True)
class RowShape:
    """Sizes of a packed row.

    Attributes:
      tokens: tokens (T).
      slots: loss slots (S).
      columns: slot columns (C), the teacher's and the students'.
    """

    tokens: int
    slots: int
    columns: int = 2


@dataclasses.dataclass(frozen=True)
class CompiledMemory:
    """Bytes of a chip's HBM, the padding of tiles included.

    Attributes:
      arguments: state, frozen weights and batch.
      outputs: what of the next state and the metrics does not take the place of arguments.
      temporaries: everything that lives only during the step.
      program: the instructions.
      peak: most that lives at any one time, by the compiler's count.
    """

    arguments: int
    outputs: int
    temporaries: int
    program: int
    peak: int

    @property
    def total(self) -> int:
        """What a chip has to have free: temporaries are one block, taken for the whole step."""
        return self.arguments + self.outputs + self.temporaries + self.program


@dataclasses.dataclass(frozen=True)
class CompiledProgram:
    """What the compiler made of a program.

    Attributes:
      memory: of one chip.
      collectives: what chips send to one another, in the program's order.
    """

    memory: CompiledMemory
    collectives: tuple[hlo.Collective, ...]

    def bytes_by_kind(self) -> dict[str, int]:
        """Bytes of each kind of collective in one run; kinds without any are left out."""
        totals: dict[str, int] = {}
        for collective in self.collectives:
            totals[collective.kind] = totals.get(collective.kind, 0) + collective.total_bytes
        return totals


@dataclasses.dataclass(frozen=True)
class CompiledStep(CompiledProgram):
    """What the compiler made of a training step.

    Attributes:
      topology: its name.
      mesh: size of each mesh axis.
      rows: rows of the batch, over all chips.
    """

    topology: str
    mesh: dict[str, int]
    rows: int

    @property
    def chips(self) -> int:
        """Chips of the mesh."""
        return math.prod(self.mesh.values())


class OutOfMemoryError(InputError):
    """A program that needs more memory than a chip has.

    Attributes:
      needed: bytes the compiler counted, rounded as it prints them; temporaries alone, as a rule.
      limit: bytes there are.
    """

    def __init__(self, message: str, needed: int, limit: int) -> None:
        super().__init__(message)
        self.needed, self.limit = needed, limit


def topology_devices(topology: str) -> list[jax.Device]:
    """The chips of a topology: they can be compiled for, and do not exist.

    JAX is kept on the CPU if nothing else was asked of it: without a TPU, libtpu's client would not
    start.

    Args:
      topology: such as "v5e:8x8", the lengths being those of the slice.

    Raises:
      InputError: if libtpu is not installed or there is no such topology.
    """
    generation, _, lengths = topology.partition(":")
    known = ", ".join(f"{name}:{row.example}" for name, row in GENERATIONS.items())
    if generation not in GENERATIONS or not re.fullmatch(r"\d+(x\d+){1,2}", lengths):
        raise InputError(
            f"{topology!r} is not a TPU topology; name a generation and the lengths of a slice of "
            f"it, such as {known}"
        )
    if importlib.util.find_spec("libtpu") is None:
        raise InputError(
            f"to compile for {topology} the package libtpu is needed, but no TPU: "
            "pip install libtpu, or pip install 'xcot-jax[tpu]'"
        )
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if not jax.config.jax_platforms:  # type: ignore[attr-defined]
        jax.config.update("jax_platforms", "cpu")
    options = dict(GENERATIONS[generation].options)
    sides = [int(length) for length in lengths.split("x")]
    if len(sides) == 3 and all(side % 4 == 0 for side in sides):
        options["wrap"] = (True,) * 3  # Slices of whole cubes are tori.
    try:
        return topologies.get_topology_desc(topology, platform="tpu", **options).devices
    except (jax.errors.JaxRuntimeError, NotImplementedError) as error:
        raise InputError(
            f"libtpu knows no topology {topology!r} ({error}); there are, for example, {known}"
        ) from error


def compile_step(
    config: ModelConfig,
    mesh: MeshSettings,
    topology: str,
    *,
    rows: int,
    row: RowShape,
    objective: Objective,
    optim: OptimSettings | None = None,
    frozen_dtype: str = "bfloat16",
) -> CompiledStep:
    """Compiles the training step of a run for a topology.

    Args:
      config: the decoder.
      mesh: sizes of the mesh axes; one chip each.
      topology: see `topology_devices`.
      rows: rows of a batch over all chips.
      row: their shape.
      objective: the loss.
      optim: the optimizer and the microbatches; the defaults if None.
      frozen_dtype: type of the weights beside which adapters are trained.

    Raises:
      OutOfMemoryError: if it needs more memory than a chip has.
      InputError: for what `topology_devices`, `sharding.make_mesh` or `make_train_step` refuse.
    """
    devices = sharding.make_mesh(mesh, topology_devices(topology))
    optim = optim or OptimSettings()
    axes, shapes = transformer.logical_axes(config), transformer.param_shapes(config)
    tx = optimizer(optim, 1_000, lora.trained_part(axes, config))
    step: Any = make_train_step(
        transformer.graph(config),
        config,
        tx,
        objective,
        devices,
        rows=rows,
        accumulate=optim.accumulate,
    )
    state = _placed(abstract_state(config, tx), state_shardings(config, tx, devices))
    axes, shapes = lora.frozen_part(axes, config), lora.frozen_part(shapes, config)
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.dtype(frozen_dtype)), shapes
    )
    frozen = _placed(shapes, sharding.tree_shardings(devices, axes, shapes))
    lowered = step.lower(state, frozen, abstract_batch(rows, row, devices))
    what = f"{topology}: the step of {rows} rows of {row.tokens} tokens"
    program = compile_program(lowered, what)
    return CompiledStep(program.memory, program.collectives, topology, dict(devices.shape), rows)


def abstract_batch(rows: int, row: RowShape, mesh: Mesh) -> Batch:
    """A batch with shapes and shardings in place of arrays."""
    entries = (rows, row.slots, row.columns)

    def empty() -> Batch:
        tokens, indices = jnp.zeros((rows, row.tokens), jnp.int32), jnp.zeros(entries, jnp.int32)
        weights = jnp.zeros(entries, jnp.float32)
        slots = LossSlots(indices, indices, weights, weights[..., 1:])
        return Batch(tokens, tokens, tokens, slots, indices)

    shapes = jax.eval_shape(empty)
    return _placed(shapes, jax.tree.map(lambda _: sharding.batch_sharding(mesh), shapes))


def compile_program(lowered: jax.stages.Lowered, what: str) -> CompiledProgram:
    """Compiles a lowered program and reads what came of it.

    Args:
      lowered: the program.
      what: its name, for the message of the error.

    Raises:
      OutOfMemoryError: if it needs more memory than a chip has.
    """
    try:
        program = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        raise out_of_memory(str(error), what) or error from error
    memory: Any = program.memory_analysis()
    return CompiledProgram(
        CompiledMemory(
            arguments=memory.argument_size_in_bytes,
            outputs=memory.output_size_in_bytes - memory.alias_size_in_bytes,
            temporaries=memory.temp_size_in_bytes,
            program=memory.generated_code_size_in_bytes,
            peak=memory.peak_memory_in_bytes,
        ),
        hlo.collectives(hlo.parse(program.as_text() or "")),
    )


def out_of_memory(message: str, what: str) -> OutOfMemoryError | None:
    """The error that a compiler's message means, if it says that memory does not suffice."""
    found = re.search(r"\(([\d.]+)([BKMGT])\) exceeds available HBM \(([\d.]+)([BKMGT])\)", message)
    found = found or re.search(r"Used ([\d.]+)([BKMGT]) of ([\d.]+)([BKMGT]) hbm", message)
    if not found:
        return None
    needed, limit = (float(found[n]) * _UNITS[found[n + 1]] for n in (1, 3))
    return OutOfMemoryError(
        f"{what} needs {needed / 2**30:.2f} GiB of a chip's memory, which has "
        f"{limit / 2**30:.2f}; take fewer rows or shorter ones, model.remat=full, or more chips",
        int(needed),
        int(limit),
    )


def _placed(shapes: Any, shardings: Any) -> Any:
    return jax.tree.map(
        lambda shape, where: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=where),
        shapes,
        shardings,
    )
