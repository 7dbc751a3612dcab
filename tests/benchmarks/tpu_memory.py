"""What a chip's memory holds of the training step of published models, by the TPU's own compiler.

    python -m tests.benchmarks.tpu_memory --json=FILE

Needs the package libtpu and no TPU. Rows have 2,048 tokens and 512 slots of two columns; compute in
bfloat16, fp32 weights, AdamW, whole blocks recomputed; weights and batch are spread over all 64
chips of a topology. The most rows a chip holds are searched for as `xcot compile --search` does,
but to within a tenth; memory by the row, measured on a model's first topology, predicts them on the
others. The first part compares the step's temporaries with those of a step that makes all logits at
once.

Compiling takes a minute or more for each row count. Cells that FILE already holds are not repeated.

Figures, of BLOOM-7B1's step on v5e:8x8: `bloom_v5e_temp_vs_dense`, temporary bytes with the fused
loss / with the dense one left to the compiler to divide, which sums partial logits of all rows;
`bloom_v5e_temp_vs_gathered`, the same against a dense loss told to gather the head. `smallest_fit`,
fewest rows a chip holds of any cell; `compilations`, of all cells.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import jax

from tests.benchmarks import measuring
from tests.dense_reference import dense_loss
from xcot_jax import compiled, sharding, tpu, train_step
from xcot_jax.losses import LossTerms, Objective
from xcot_jax.models.presets import PRESETS
from xcot_jax.row_search import most_rows
from xcot_jax.settings import MeshSettings

MODELS = ("llama2_7b", "llama2_13b", "bloom_7b1", "qwen2_5_7b", "gemma2_9b")
TOPOLOGIES = ("v5e:8x8", "v5p:4x4x4", "v4:4x4x4", "v6e:8x8")
ROW = compiled.RowShape(tokens=2_048, slots=512)
OBJECTIVE = Objective(beta=0.5)
MESH = MeshSettings(data=1, fsdp=-1, tensor=1)
WITHIN = 0.1
"""Share of its rows by which what a chip is said to hold may be too low."""

COLUMNS = (
    "model",
    "topology",
    "rows a chip",
    "GiB used",
    "of",
    "arguments",
    "temporaries",
    "gathered, GiB a step",
    "reduced",
    "other",
)
GIB = 2**30

Cell = dict[str, Any]
"""What one compilation gave, as JSON has it."""

CompileCell = Callable[[str, str, int, str], Cell]


class Store:
    """Cells by name, kept in the benchmark's file as they come.

    Args:
      path: the file, which may hold cells already.
      compile_cell: makes a cell of a model, topology, rows a chip and loss.
    """

    def __init__(self, path: Path | None, compile_cell: CompileCell) -> None:
        self._path, self._compile = path, compile_cell
        self.cells: dict[str, Cell] = {}
        if path and path.exists():
            self.cells = json.loads(path.read_text())["details"]["cells"]

    def get(self, model: str, topology: str, rows: int, loss: str = "fused") -> Cell:
        """The cell, compiled now if it is not there yet."""
        name = f"{model} {topology} full {rows} {loss}"
        if name not in self.cells:
            begin = time.perf_counter()
            self.cells[name] = self._compile(model, topology, rows, loss)
            seconds = time.perf_counter() - begin
            print(f"{name}: {describe(self.cells[name])}, {seconds:.0f} s", flush=True)
            self.write({})
        return self.cells[name]

    def write(self, figures: dict[str, float]) -> None:
        """Writes all cells; the figures too, once there are any."""
        if self._path:
            record = {"figures": figures, "details": {"cells": self.cells}}
            self._path.write_text(json.dumps(record, indent=2) + "\n")


def compile_cell(model: str, topology: str, rows: int, loss: str) -> Cell:
    """Compiles the step of so many rows a chip; what does not fit is told by its bytes."""
    config = dataclasses.replace(PRESETS[model], remat="full")
    chips = len(tpu.topology_devices(topology))
    try:
        with mock.patch.object(train_step, "one_pass_loss", LOSSES[loss]):
            step = compiled.compile_step(
                config, MESH, topology, rows=rows * chips, row=ROW, objective=OBJECTIVE
            )
    except compiled.OutOfMemoryError as error:
        return {"fits": False, "temporaries": error.needed, "limit": error.limit}
    return {
        "fits": True,
        "mesh": step.mesh,
        **dataclasses.asdict(step.memory),
        "total": step.memory.total,
        "collectives": step.bytes_by_kind(),
    }


def dense(hidden: Any, head: Any, slots: Any, objective: Objective, **options: Any) -> LossTerms:
    """The loss of `one_pass_loss` with all logits at once, left to the compiler to divide."""
    loss = dense_loss(
        hidden,
        head,
        slots,
        beta=objective.beta,
        temperature=objective.temperature,
        **dataclasses.asdict(options["rule"]),
    )
    return LossTerms(loss, slots.ce_weight, slots.kd_weight)


def gathered(
    hidden: Any, head: Any, slots: Any, objective: Objective, *, mesh: Any, **options: Any
) -> LossTerms:
    """`dense`, told to gather the head rather than the rows: each chip has its own rows' logits."""
    whole = jax.lax.with_sharding_constraint(head.astype(hidden.dtype), sharding.replicated(mesh))
    return dense(hidden, whole, slots, objective, **options)


LOSSES = {"fused": train_step.one_pass_loss, "dense": dense, "gathered": gathered}


def describe(cell: Cell) -> str:
    """One line about a cell."""
    if not cell["fits"]:
        return f"does not fit: temporaries of {cell['temporaries'] / GIB:.2f} GiB"
    return f"{cell['total'] / GIB:.2f} GiB, temporaries {cell['temporaries'] / GIB:.2f}"


def capacity(topology: str) -> float:
    """Bytes of a chip."""
    return tpu.GENERATIONS[topology.partition(":")[0]].hbm


def rows_by_topology(store: Store, model: str, topologies: tuple[str, ...]) -> dict[str, int]:
    """The most rows a chip of each topology holds; 0 where not even one fits.

    On the first topology all is measured. State and memory by the row are nearly the same on
    others of as many chips, so that the line of the first one tells where to begin.
    """
    found: dict[str, int] = {}
    line: tuple[float, float] | None = None  # Bytes a row, and those of none.

    for topology in topologies:

        def need(rows: int, topology: str = topology) -> float | None:
            cell = store.get(model, topology, rows)
            return cell["total"] if cell["fits"] else None

        room, start, slope = capacity(topology), 2, None
        if line:
            slope = line[0]
            start = max(1, math.ceil((1 - WITHIN) * (room - line[1]) / slope))  # Surely fits.
        found[topology] = rows = most_rows(need, room, start, slope, within=WITHIN)
        if rows > 2 and not line:
            last, few = need(rows), need(2)
            assert last is not None and few is not None
            slope = (last - few) / (rows - 2)
            line = slope, few - 2 * slope
    return found


def line(store: Store, model: str, topology: str, rows: int) -> list[str]:
    """A row of the table."""
    cell = store.get(model, topology, max(rows, 1))
    sent = dict(cell.get("collectives", {}))
    gathers = sent.pop("all-gather", 0)
    reduced = sent.pop("all-reduce", 0) + sent.pop("reduce-scatter", 0)
    sizes = [cell.get("total", 0), capacity(topology), cell.get("arguments", 0)]
    moved = [cell["temporaries"], gathers, reduced, sum(sent.values())]
    return [model, topology, str(rows), *(f"{size / GIB:.2f}" for size in sizes + moved)]


def main() -> None:
    """Runs the benchmark from the command line."""
    parser = measuring.parser(__doc__ or "")
    parser.add_argument("--models", nargs="*", default=MODELS, choices=PRESETS)
    parser.add_argument("--topologies", nargs="*", default=TOPOLOGIES)
    parser.add_argument("--rows", type=int, default=1, help="rows a chip against the dense loss")
    options = parser.parse_args()

    store = Store(options.json, compile_cell)
    case = ("bloom_7b1", "v5e:8x8", options.rows)
    temporaries = {loss: store.get(*case, loss)["temporaries"] for loss in LOSSES}
    figures = {
        "bloom_v5e_temp_vs_dense": temporaries["fused"] / temporaries["dense"],
        "bloom_v5e_temp_vs_gathered": temporaries["fused"] / temporaries["gathered"],
    }

    lines, fits = [], []
    for model in options.models:
        found = rows_by_topology(store, model, tuple(options.topologies))
        fits += found.values()
        lines += [line(store, model, topology, rows) for topology, rows in found.items()]
        print(measuring.table(COLUMNS, lines[-len(found) :]), flush=True)
    if lines:
        print(measuring.table(COLUMNS, lines))
        figures["smallest_fit"] = min(fits)
    figures["compilations"] = len(store.cells)
    for name, value in figures.items():
        print(f"{name} = {value:.4g}")
    store.write(figures)


if __name__ == "__main__":
    main()
