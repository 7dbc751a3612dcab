"""What a chip's memory holds of the training step of published models, by the TPU's own compiler.

    python -m tests.benchmarks.tpu_memory --json=FILE

Needs the package libtpu and no TPU. Rows have 2,048 tokens and 512 slots of two columns; compute in
bfloat16, fp32 weights, AdamW; weights and batch are spread over all 64 chips of a topology. For
each model and topology the most rows a chip holds are predicted from the memory of two small counts
and then compiled; the policy of recomputation with which more fit is taken. The first part compares
the step's temporaries with those of a step that makes all logits at once.

Compiling takes a minute or more for each row count. Cells that FILE already holds are not repeated.

Figures, of BLOOM-7B1's step on v5e:8x8: `bloom_v5e_temp_vs_dense`, temporary bytes with the fused
loss / with the dense one left to the compiler to divide, which sums partial logits of all rows;
`bloom_v5e_temp_vs_gathered`, the same against a dense loss told to gather the head. `smallest_fit`,
fewest rows a chip holds of any cell.
"""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any
from unittest import mock

import jax

from tests.benchmarks import measuring
from tests.dense_reference import dense_loss
from xcot_jax import compiled, sharding, train_step
from xcot_jax.losses import LossTerms, Objective
from xcot_jax.models.presets import PRESETS
from xcot_jax.settings import MeshSettings

MODELS = ("llama2_7b", "llama2_13b", "bloom_7b1", "qwen2_5_7b", "gemma2_9b")
TOPOLOGIES = ("v5e:8x8", "v5p:4x4x4", "v4:4x4x4", "v6e:8x8")
REMATS = ("full", "dots")
ROW = compiled.RowShape(tokens=2_048, slots=512)
OBJECTIVE = Objective(beta=0.5)
MESH = MeshSettings(data=1, fsdp=-1, tensor=1)
COLUMNS = (
    "model",
    "topology",
    "remat",
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


class Store:
    """Cells by name, kept in the benchmark's file as they come."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.cells: dict[str, Cell] = {}
        if path and path.exists():
            self.cells = json.loads(path.read_text())["details"]["cells"]

    def get(self, model: str, topology: str, remat: str, rows: int, loss: str = "fused") -> Cell:
        """The cell, compiled now if it is not there yet."""
        name = f"{model} {topology} {remat} {rows} {loss}"
        if name not in self.cells:
            begin = time.perf_counter()
            self.cells[name] = compile_cell(model, topology, remat, rows, loss)
            seconds = time.perf_counter() - begin
            print(f"{name}: {describe(self.cells[name])}, {seconds:.0f} s", flush=True)
            self.write({})
        return self.cells[name]

    def write(self, figures: dict[str, float]) -> None:
        """Writes all cells; the figures too, once there are any."""
        if self._path:
            record = {"figures": figures, "details": {"cells": self.cells}}
            self._path.write_text(json.dumps(record, indent=2) + "\n")


def compile_cell(model: str, topology: str, remat: str, rows: int, loss: str) -> Cell:
    """Compiles the step of so many rows a chip; what does not fit is told by its bytes."""
    config = dataclasses.replace(PRESETS[model], remat=remat)
    chips = len(compiled.topology_devices(topology))
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


def most_rows(store: Store, model: str, topology: str, remat: str) -> tuple[int, Cell]:
    """The most rows a chip holds, and their cell; 0 and the cell of one row if not even that fits.

    Memory grows linearly with rows but for what the compiler does when it is short of it: the
    prediction is compiled, and lowered until it fits.
    """
    one, two = (store.get(model, topology, remat, rows) for rows in (1, 2))
    if not two["fits"]:
        return (1 if one["fits"] else 0), one
    free = compiled.GENERATIONS[topology.partition(":")[0]].hbm - two["total"]
    rows = 2 + int(free / (two["total"] - one["total"]))
    while rows > 2:
        cell = store.get(model, topology, remat, rows)
        if cell["fits"]:
            return rows, cell
        rows -= 1
    return 2, two


def line(model: str, topology: str, remat: str, rows: int, cell: Cell) -> list[str]:
    """A row of the table."""
    sent = dict(cell.get("collectives", {}))
    gathered = sent.pop("all-gather", 0)
    reduced = sent.pop("all-reduce", 0) + sent.pop("reduce-scatter", 0)
    limit = compiled.GENERATIONS[topology.partition(":")[0]].hbm
    sizes = [cell.get("total", 0), limit, cell.get("arguments", 0), cell["temporaries"]]
    moved = [gathered, reduced, sum(sent.values())]
    return [model, topology, remat, str(rows), *(f"{size / GIB:.2f}" for size in sizes + moved)]


def main() -> None:
    """Runs the benchmark from the command line."""
    parser = measuring.parser(__doc__ or "")
    parser.add_argument("--models", nargs="*", default=MODELS, choices=PRESETS)
    parser.add_argument("--topologies", nargs="*", default=TOPOLOGIES)
    parser.add_argument("--remats", nargs="*", default=REMATS, choices=REMATS)
    parser.add_argument("--rows", type=int, default=1, help="rows a chip against the dense loss")
    options = parser.parse_args()

    store = Store(options.json)
    case = ("bloom_7b1", "v5e:8x8", "full", options.rows)
    temporaries = {loss: store.get(*case, loss)["temporaries"] for loss in LOSSES}
    figures = {
        "bloom_v5e_temp_vs_dense": temporaries["fused"] / temporaries["dense"],
        "bloom_v5e_temp_vs_gathered": temporaries["fused"] / temporaries["gathered"],
    }

    lines, fits = [], []
    for model in options.models:
        for topology in options.topologies:
            held = [(*most_rows(store, model, topology, remat), remat) for remat in options.remats]
            rows, cell, remat = max(held, key=lambda entry: entry[0])
            fits.append(rows)
            lines.append(line(model, topology, remat, rows, cell))
            print(measuring.table(COLUMNS, lines[-1:]), flush=True)
    if lines:
        print(measuring.table(COLUMNS, lines))
        figures["smallest_fit"] = min(fits)
    for name, value in figures.items():
        print(f"{name} = {value:.4g}")
    store.write(figures)


if __name__ == "__main__":
    main()
