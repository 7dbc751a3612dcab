"""What distillation costs a whole training step, and how near the step comes to the machine.

    python -m tests.benchmarks.step --problems=FILE --json=FILE

A preset is trained on packed rows of the parallel problems. The same batch is stepped on with
cross-entropy only and with the divergence added, interleaved; then the loop of `xcot train` is run
with its loader. The floor is the model's FLOPs at the measured rate of matrix products.

Figures: `kl_overhead`, time of a step with CE + KL / with CE only; `peak_fraction`, model FLOPs of
the step with CE + KL / what the machine's matrix products would do in its time; `input_wait`, share
of the loop's time spent waiting for batches.
"""

from __future__ import annotations

import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tests.benchmarks import measuring
from tests.benchmarks.loader import prepared
from xcot_jax import metrics, sharding
from xcot_jax.data import loader, packing
from xcot_jax.devices import peak_flops
from xcot_jax.losses import Objective
from xcot_jax.models import selection, transformer
from xcot_jax.models.config import ModelConfig
from xcot_jax.optimizer import optimizer
from xcot_jax.settings import MeshSettings, ModelSettings, OptimSettings
from xcot_jax.train_step import TrainState, create_state, make_train_step

BETAS = {"CE": 0.0, "CE + KL": 0.5}


class Stepper:
    """One way of stepping, with a state of its own."""

    def __init__(self, config: ModelConfig, mesh: jax.sharding.Mesh, beta: float, rows: int):
        tx = optimizer(OptimSettings(), 1_000, transformer.logical_axes(config))
        self.state: TrainState = create_state(
            transformer.init(config, 0, mesh)[1], config, tx, mesh
        )
        objective = Objective(beta=beta)
        graph = transformer.graph(config)
        self._step = make_train_step(graph, config, tx, objective, mesh, rows=rows)

    def __call__(self, batch: packing.Batch) -> Any:
        """Steps once; what it returns is to be waited for."""
        self.state, measured = self._step(self.state, {}, batch)
        return measured


def waiting(stepper: Stepper, source: loader.Loader, place: Any, steps: int) -> float:
    """Share of the time of a loop of training that its input takes to come."""
    waited, measured = 0.0, None
    begin = time.perf_counter()
    for _ in range(steps):
        asked = time.perf_counter()
        batch = next(source)
        waited += time.perf_counter() - asked
        before, measured = measured, stepper(loader.place(batch.rows, place))
        jax.block_until_ready(before)  # As in training, a step's metrics are read a step late.
    jax.block_until_ready(measured)
    return waited / (time.perf_counter() - begin)


def main() -> None:
    """Runs the benchmark from the command line."""
    parser = measuring.parser(__doc__ or "")
    parser.add_argument("--problems", type=Path, required=True, help="parallel JSON Lines file")
    parser.add_argument("--preset", default="llama_60m")
    parser.add_argument("--vocabulary", type=int, default=32_000)
    parser.add_argument("--dtype", default="float32", help="type of activations and products")
    parser.add_argument("--rows", type=int, default=1, help="rows of 4,096 tokens in a batch")
    options = parser.parse_args()

    mesh = sharding.make_mesh(MeshSettings())
    model = ModelSettings(
        preset=options.preset, vocab_size=options.vocabulary, compute_dtype=options.dtype
    )
    with tempfile.TemporaryDirectory() as name:
        settings = prepared(options.problems, 1, Path(name) / "data", rows=options.rows)
        tokenizer = loader.find_tokenizer(settings)
        config = selection.from_settings(model, tokenizer.vocab_size)
        source = loader.Loader(settings, tokenizer)
        place = sharding.batch_sharding(mesh)
        rows = next(source).rows
        batch = loader.place(rows, place)
        steppers = {name: Stepper(config, mesh, beta, options.rows) for name, beta in BETAS.items()}
        seconds = measuring.interleaved(
            {name: lambda s=s: s(batch) for name, s in steppers.items()}, options.rounds
        )
        before = resource.getrusage(resource.RUSAGE_SELF)
        wait = waiting(steppers["CE + KL"], source, place, options.rounds)
        after = resource.getrusage(resource.RUSAGE_SELF)
    flops = metrics.training_flops(rows, config)
    floor = flops / peak_flops()
    tokens = int((rows["segment_ids"] > 0).sum())
    median = {name: statistics.median(s) for name, s in seconds.items()}
    print(
        f"{options.preset}, V = {config.vocab_size:,}, {options.dtype}; {options.rows} rows of "
        f"{rows['tokens'].shape[1]} tokens, {tokens:,} of them real, "
        f"{int(np.count_nonzero(rows['ce_weight']))} predicted; {flops / 1e9:.0f} GFLOP, floor "
        f"{floor:.2f} s"
    )
    lines = [
        (name, f"{s * 1e3:.0f}", f"{tokens / s:,.0f}", f"{floor / s:.2f}")
        for name, s in median.items()
    ]
    print(measuring.table(("", "median ms", "tokens/s", "share of peak"), lines))
    system = {
        "page_faults_a_step": (after.ru_minflt - before.ru_minflt) / options.rounds,
        "system_s_a_step": (after.ru_stime - before.ru_stime) / options.rounds,
    }
    print(
        f"a step of the loop: {system['page_faults_a_step']:,.0f} page faults, "
        f"{system['system_s_a_step']:.2f} s in the operating system"
    )
    figures = {
        "kl_overhead": measuring.ratio(seconds["CE + KL"], seconds["CE"]),
        "peak_fraction": floor / median["CE + KL"],
        "input_wait": wait,
    }
    measuring.write(
        options.json, figures, {"seconds": seconds, "floor_s": floor, "flops": flops} | system
    )


if __name__ == "__main__":
    main()
