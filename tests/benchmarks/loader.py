"""How fast groups become packed rows, how full the rows are, and what a small model eats of them.

    python -m tests.benchmarks.loader --problems=FILE --json=FILE

Prepares the parallel problems (`configs/gsm8k_parallel.py`, with the embedded lexicon and as much
of each recipe) with one and with three students a group, and reads batches as training does:
shuffled, tokenized, packed, with prefetching. The consumer is the quickstart's model, trained as
fast as it goes on one batch.

Figures: `tokens_per_s`, real tokens a second of one process, K = 1; `fill_k1`, `fill_k3`, share of
the rows that is not padding; `vs_quickstart`, tokens a second of the loader / of the model.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tests.benchmarks import measuring
from xcot_jax import cli, config, sharding
from xcot_jax.data import loader
from xcot_jax.losses import Objective
from xcot_jax.models import selection, transformer
from xcot_jax.optimizer import optimizer
from xcot_jax.settings import Settings
from xcot_jax.train_step import create_state, make_train_step

CONFIGS = Path(__file__).parents[2] / "configs"
ROWS = {1: (4_096, 1_280), 3: (4_096, 1_280)}  # Students -> tokens and loss slots of a row.


def prepared(problems: Path, students: int, directory: Path, rows: int = 2) -> Settings:
    """The settings of a run on these problems, after `xcot prep` has written its data."""
    tokens, slots = ROWS[students]
    changes = {
        "prep.path": problems,
        "prep.provenance": "",
        "prep.notes": "",
        "prep.mixture.instruct": 1.0,
        "prep.mixture.xicl": 1.0,
        "prep.mixture.random_cot": 1.0,
        "prep.xicl.lexicon": "story",
        "data.students": students,
        "data.row_tokens": tokens,
        "data.row_slots": slots,
        "data.batch_rows": rows,
        "data.packing_bins": 128,
        "data.dir": directory,
    }
    overrides = {key: str(value) for key, value in changes.items()}
    options = [f"--config.{key}={value}" for key, value in overrides.items()]
    source = CONFIGS / "gsm8k_parallel.py"
    cli.run(["prep", f"--config={source}", f"--out={directory}", *options])
    return config.load(source, overrides)


def read(settings: Settings, rounds: int, batches: int) -> dict[str, Any]:
    """Tokens a second over `rounds` stretches of as many batches, and how full the rows were."""
    source = loader.Loader(settings, loader.find_tokenizer(settings))
    for _ in range(settings.data.packing_bins // settings.data.batch_rows + 1):
        next(source)  # The first rows wait until all bins have begun.
    rates, fills = [], []
    for _ in range(rounds):
        begin, tokens = time.perf_counter(), 0
        for _ in range(batches):
            batch = next(source)
            tokens += int((batch.rows["segment_ids"] > 0).sum())
            fills.append(batch.fill)
        rates.append(tokens / (time.perf_counter() - begin))
    return {
        "tokens_per_s": statistics.median(rates),
        "rates": rates,
        "fill": statistics.mean(fills),
        "dropped": len(source.dropped.ids),
        "groups": source.groups,
    }


def eaten(rounds: int, steps: int = 40) -> float:
    """Tokens a second that the quickstart's model is trained on, with no input to wait for."""
    settings = config.load(CONFIGS / "quickstart_sft.py")
    decoder = selection.from_settings(settings.model, 4_000)
    mesh = sharding.make_mesh(settings.mesh, jax.devices()[:1])
    tx = optimizer(settings.optim, settings.train.steps, transformer.logical_axes(decoder))
    state = create_state(transformer.init(decoder, 0, mesh)[1], decoder, tx, mesh)
    rows, tokens, slots = (
        settings.data.batch_rows,
        settings.data.row_tokens,
        settings.data.row_slots,
    )
    columns = settings.data.students + 1
    rng = np.random.default_rng(0)
    entries = (rows, slots, columns)
    full = {
        "tokens": rng.integers(4, 4_000, (rows, tokens), dtype=np.int32),
        "positions": np.tile(np.arange(tokens, dtype=np.int32), (rows, 1)),
        "segment_ids": np.ones((rows, tokens), np.int32),
        "slot_positions": rng.integers(0, tokens, entries, dtype=np.int32),
        "targets": rng.integers(4, 4_000, entries, dtype=np.int32),
        "languages": np.zeros(entries, np.int32),
        "ce_weight": np.ones(entries, np.float32),
        "kd_weight": np.zeros((rows, slots, columns - 1), np.float32),
    }
    batch = loader.place(full, sharding.batch_sharding(mesh))
    graph = transformer.graph(decoder)
    step = make_train_step(graph, decoder, tx, Objective(), mesh, rows=rows)
    state, _ = step(state, {}, batch)
    rates = []
    for _ in range(rounds):
        begin = time.perf_counter()
        for _ in range(steps):
            state, measured = step(state, {}, batch)
        jax.block_until_ready(measured)
        rates.append(steps * rows * tokens / (time.perf_counter() - begin))
    return statistics.median(rates)


def main() -> None:
    """Runs the benchmark from the command line."""
    parser = measuring.parser(__doc__ or "")
    parser.add_argument("--problems", type=Path, required=True, help="parallel JSON Lines file")
    parser.add_argument("--batches", type=int, default=100, help="batches of a round")
    options = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as name:
        for students in ROWS:
            settings = prepared(options.problems, students, Path(name) / str(students))
            found[students] = read(settings, options.rounds, options.batches)
    consumed = eaten(options.rounds)
    lines = [
        (
            f"K = {students}",
            "x".join(map(str, ROWS[students])),
            f"{one['groups']:,}",
            one["dropped"],
            f"{one['tokens_per_s']:,.0f}",
            f"{one['fill']:.1%}",
        )
        for students, one in found.items()
    ]
    print(measuring.table(("", "row", "groups", "too long", "tokens/s", "fill"), lines))
    print(f"the quickstart's model is trained on {consumed:,.0f} tokens/s")
    figures = {
        "tokens_per_s": found[1]["tokens_per_s"],
        "fill_k1": found[1]["fill"],
        "fill_k3": found[3]["fill"],
        "vs_quickstart": found[1]["tokens_per_s"] / consumed,
    }
    details = {str(students): one for students, one in found.items()}
    measuring.write(options.json, figures, details | {"quickstart_tokens_per_s": consumed})


if __name__ == "__main__":
    main()
