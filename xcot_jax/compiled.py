"""The training step as a TPU topology's compiler makes it: memory of a chip, and what chips send.

`libtpu` compiles for any topology on any machine, and nothing is allocated: the step is lowered
from shapes that carry shardings. What does not fit into a chip's memory is the compiler's error,
which tells how much it would have needed.
"""

from __future__ import annotations

import dataclasses
import math
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from xcot_jax import hlo, hlo_traffic, sharding
from xcot_jax.data.packing import Batch
from xcot_jax.errors import InputError
from xcot_jax.losses import LossSlots, Objective
from xcot_jax.models import lora, transformer
from xcot_jax.models.config import ModelConfig
from xcot_jax.optimizer import optimizer
from xcot_jax.settings import MeshSettings, OptimSettings
from xcot_jax.tpu import topology_devices
from xcot_jax.train_step import TrainState, abstract_state, make_train_step, state_shardings

PARTS = {
    "state.params": "parameters",
    "state.opt_state": "optimizer state",
    "frozen": "frozen weights",
    "batch": "batch",
}
"""Arguments of the step by the beginning of their names."""

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
      parts: bytes of the arguments by the part of them, a value of `PARTS`; padded.
      hbm_bytes: read from and written to a chip's memory in one run (`hlo_traffic`).
    """

    memory: CompiledMemory
    collectives: tuple[hlo.Collective, ...]
    parts: Mapping[str, int]
    hbm_bytes: int

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

    def sent_by_kind(self) -> dict[str, int]:
        """Bytes that a chip sends in a step, by the kind of collective."""
        totals: dict[str, int] = {}
        for collective in self.collectives:
            sent = collective.sent_bytes(self.chips)
            totals[collective.kind] = totals.get(collective.kind, 0) + sent
        return totals


class OutOfMemoryError(InputError):
    """A program that needs more memory than a chip has.

    Attributes:
      needed: bytes the compiler counted, rounded as it prints them; temporaries alone, as a rule.
      limit: bytes there are.
    """

    def __init__(self, message: str, needed: int, limit: int) -> None:
        super().__init__(message)
        self.needed, self.limit = needed, limit


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
      topology: see `tpu.topology_devices`.
      rows: rows of a batch over all chips.
      row: their shape.
      objective: the loss.
      optim: the optimizer and the microbatches; the defaults if None.
      frozen_dtype: type of the weights beside which adapters are trained.

    Raises:
      OutOfMemoryError: if it needs more memory than a chip has.
      InputError: for what `tpu.topology_devices`, `sharding.make_mesh` or `make_train_step` refuse.
    """
    devices = sharding.make_mesh(mesh, topology_devices(topology))
    step, arguments = abstract_step(
        config,
        devices,
        rows=rows,
        row=row,
        objective=objective,
        optim=optim,
        frozen_dtype=frozen_dtype,
    )
    what = f"{topology}: the step of {rows} rows of {row.tokens} tokens"
    program = compile_program(step.lower(*arguments), what)
    fields = {f.name: getattr(program, f.name) for f in dataclasses.fields(program)}
    return CompiledStep(**fields, topology=topology, mesh=dict(devices.shape), rows=rows)


def abstract_step(
    config: ModelConfig,
    mesh: Mesh,
    *,
    rows: int,
    row: RowShape,
    objective: Objective,
    optim: OptimSettings | None = None,
    frozen_dtype: str = "bfloat16",
) -> tuple[Any, tuple[TrainState, Any, Batch]]:
    """The jitted training step of a run, and its arguments as shapes with shardings.

    Args:
      config, rows, row, objective, optim, frozen_dtype: see `compile_step`.
      mesh: of devices that need not exist.

    Raises:
      InputError: if rows do not divide over the mesh.
    """
    optim = optim or OptimSettings()
    axes, shapes = transformer.logical_axes(config), transformer.param_shapes(config)
    tx = optimizer(optim, 1_000, lora.trained_part(axes, config))
    step: Any = make_train_step(
        transformer.graph(config),
        config,
        tx,
        objective,
        mesh,
        rows=rows,
        accumulate=optim.accumulate,
    )
    state = _placed(abstract_state(config, tx), state_shardings(config, tx, mesh))
    axes, shapes = lora.frozen_part(axes, config), lora.frozen_part(shapes, config)
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.dtype(frozen_dtype)), shapes
    )
    frozen = _placed(shapes, sharding.tree_shardings(mesh, axes, shapes))
    return step, (state, frozen, abstract_batch(rows, row, mesh))


def share_bytes(tree: Any) -> int:
    """Bytes of a chip's share of arrays, by their shapes and shardings alone."""
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
    )


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
    with tempfile.TemporaryDirectory() as directory:
        options: dict[str, str | bool] = {"xla_dump_to": directory, "xla_dump_hlo_as_text": True}
        try:
            program = lowered.compile(compiler_options=options)
        except jax.errors.JaxRuntimeError as error:
            raise out_of_memory(str(error), what) or error from error
        # `as_text` fails where work goes to sparse cores, whose operations JAX's XLA cannot read.
        dumped = sorted(Path(directory).glob("*.after_optimizations.txt"))
        text = hlo.parse(dumped[-1].read_text() if dumped else program.as_text() or "")
    memory: Any = program.memory_analysis()
    return CompiledProgram(
        CompiledMemory(
            arguments=memory.argument_size_in_bytes,
            outputs=memory.output_size_in_bytes - memory.alias_size_in_bytes,
            temporaries=memory.temp_size_in_bytes,
            program=memory.generated_code_size_in_bytes,
            peak=memory.peak_memory_in_bytes,
        ),
        hlo.collectives(text),
        _parts(text),
        hlo_traffic.hbm_bytes(text),
    )


def _parts(program: hlo.Program) -> dict[str, int]:
    """Stored bytes of the program's arguments by their part; what has none is left out."""
    totals = dict.fromkeys(PARTS.values(), 0)
    for line in program.computations[program.entry]:
        if line.opcode == "parameter":
            part = next((p for name, p in PARTS.items() if line.op_name.startswith(name)), None)
            if part:
                totals[part] += sum(shape.stored_bytes for shape in line.shapes)
    return totals


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
