"""Our training step beside those of transformers with torch and of google-tunix, on one CPU.

    python -m tests.benchmarks.peers --problems=FILE --json=FILE

Every side trains a Llama of the same sizes (`llama_60m`, fp32, AdamW, clipping) on the same
examples, which are the views of parallel problems, each group a teacher's and one student's. Ours
come packed from the loader; the others get as many a step, padded among views of about the same
length (`peer_transformers`, `peer_tunix`; `tests/test_peers.py` holds them to our loss, gradient
norm and update). "sft" learns all responses; "distill" adds the divergence from the teacher's view
to the student's.

Each side is a process of its own, and they take turns, a batch each. All batches of a side hold all
examples once; its time for them is the sum over batches of the median over rounds. Compiling,
padding and reading are not counted.

Figures: `vs_PEER_OBJECTIVE`, examples/s of ours / of the peer; `..._150k`, the same with a
vocabulary of 151,936; `vs_transformers_memory`, greatest resident memory of our process in
"distill" / of theirs, with all that Python, JAX or torch, and compiling take.
"""

from __future__ import annotations

import dataclasses
import itertools
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks import measuring, peer_examples
from tests.benchmarks.loader import prepared
from tests.benchmarks.peer_worker import MissingPeer, Spec, Worker
from xcot_jax.data import loader
from xcot_jax.models.presets import PRESETS

LARGE = 151_936
PROBLEMS = 2_000  # Of the file; more would change nothing but the time to prepare them.


@dataclasses.dataclass(frozen=True)
class Stage:
    """Sides that take turns.

    Attributes:
      objective: "sft" or "distill".
      large: whether the vocabulary is `LARGE` instead of the one asked for.
      figures: name of each figure -> the peer.
    """

    objective: str
    large: bool
    figures: dict[str, str]


STAGES = (
    Stage(
        "sft",
        False,
        {
            "vs_transformers_sft": "transformers",
            "vs_tuned_transformers_sft": "transformers, tuned",
            "vs_tunix_sft": "tunix",
        },
    ),
    Stage(
        "distill",
        False,
        {
            "vs_transformers_distill": "transformers",
            "vs_transformers_memory": "transformers",
            "vs_tuned_transformers_distill": "transformers, tuned",
        },
    ),
    # By itself: all four at once would not fit into 24 GiB.
    Stage("distill", False, {"vs_tunix_distill": "tunix"}),
    Stage("distill", True, {"vs_transformers_distill_150k": "transformers"}),
)
MEMORY = "vs_transformers_memory"
NAMES = [name for stage in STAGES for name in stage.figures]


@dataclasses.dataclass(frozen=True)
class Measured:
    """One side of a stage.

    Attributes:
      seconds: of each batch in each round.
      loss: mean over the batches of the first round.
      peak: most bytes its process had in memory.
    """

    seconds: list[list[float]]
    loss: float
    peak: int

    @property
    def total(self) -> float:
        """Seconds for all examples."""
        return sum(map(statistics.median, self.seconds))


def write_examples(
    problems: Path, directory: Path, rows: int, batches: int
) -> list[peer_examples.Pair]:
    """Packs batches of rows for the workers; returns their groups."""
    some = directory / "problems.jsonl"
    with problems.open(encoding="utf-8") as lines:
        some.write_text("".join(itertools.islice(lines, PROBLEMS)), encoding="utf-8")
    settings = prepared(some, 1, directory / "data", rows=rows)
    source = loader.Loader(settings, loader.find_tokenizer(settings))
    late = settings.data.packing_bins // rows + 1  # The first rows are not yet like all others.
    chosen = [batch.rows for batch in itertools.islice(source, late, late + batches)]
    peer_examples.save(chosen, directory)
    return [pair for batch in chosen for pair in peer_examples.unpack(batch)]


def measure(specs: Sequence[Spec], batches: int, rounds: int) -> dict[str, Measured]:
    """Lets the sides take turns; those that miss a package are left out, saying so."""
    workers: dict[str, Worker] = {}
    for spec in specs:
        try:
            workers[spec.side] = Worker(spec)
        except MissingPeer as missing:
            print(f"{spec.side} is left out: {missing}")
    found: dict[str, list[list[dict[str, float]]]] = {side: [] for side in workers}
    for batch in range(batches):
        taken: dict[str, list[dict[str, float]]] = {side: [] for side in workers}
        for _ in range(rounds):
            for side, worker in workers.items():
                taken[side].append(worker.step(batch))
        for side, steps in taken.items():
            found[side].append(steps)
    return {
        side: Measured(
            [[step["seconds"] for step in steps] for steps in found[side]],
            statistics.mean(steps[0]["loss"] for steps in found[side]),
            worker.peak(),
        )
        for side, worker in workers.items()
    }


def main() -> None:
    """Runs the benchmark from the command line."""
    parser = measuring.parser(__doc__ or "")
    parser.set_defaults(rounds=1)  # Of as many batches as make padding tight.
    parser.add_argument("--problems", type=Path, required=True, help="parallel JSON Lines file")
    parser.add_argument("--preset", default="llama_60m", help="sizes of every side's Llama")
    parser.add_argument("--vocabulary", type=int, default=32_000)
    parser.add_argument("--rows", type=int, default=1, help="rows of 4,096 tokens in a batch")
    parser.add_argument("--batches", type=int, default=6, help="different batches")
    parser.add_argument(
        "--only",
        type=lambda text: text.split(","),
        default=NAMES,
        help=f"figures to measure: {', '.join(NAMES)}",
    )
    options = parser.parse_args()
    if unknown := set(options.only) - set(NAMES):
        parser.error(f"--only: {', '.join(sorted(unknown))} not known; there are {NAMES}")

    figures: dict[str, float] = {}
    details: dict[str, object] = {}
    preset = PRESETS[options.preset]
    names = ("width", "layers", "heads", "kv_heads", "head_width", "ffn_width")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        pairs = write_examples(options.problems, directory, options.rows, options.batches)
        examples = 2 * len(pairs)
        views = [view for pair in pairs for view in pair.views]
        print(
            f"{options.preset}, fp32; {examples} examples in {options.batches} steps, "
            f"{statistics.mean(len(view.tokens) for view in views):.0f} tokens each, of them "
            f"{statistics.mean(view.response for view in views):.0f} predicted"
        )
        for stage in STAGES:
            wanted = {name: peer for name, peer in stage.figures.items() if name in options.only}
            if not wanted:
                continue
            vocabulary = LARGE if stage.large else options.vocabulary
            sizes = {field: getattr(preset, field) for field in names} | {"vocab_size": vocabulary}
            specs = [
                Spec(side, stage.objective, sizes, name)
                for side in dict.fromkeys(("ours", *wanted.values()))
            ]
            found = measure(specs, options.batches, options.rounds)
            print(f"\n{stage.objective}, V = {vocabulary:,}")
            lines = [
                (
                    side,
                    f"{examples / one.total:.2f}",
                    f"{one.total / options.batches:.2f}",
                    f"{one.peak / 2**30:.2f}",
                    f"{one.loss:.2f}",
                )
                for side, one in found.items()
            ]
            print(measuring.table(("", "examples/s", "s a step", "peak GiB", "loss"), lines))
            ours = found["ours"]
            for figure, peer in wanted.items():
                if peer in found and figure == MEMORY:
                    figures[figure] = ours.peak / found[peer].peak
                elif peer in found:
                    figures[figure] = found[peer].total / ours.total
            details[f"{stage.objective}, {vocabulary}, {', '.join(wanted)}"] = {
                side: dataclasses.asdict(one) for side, one in found.items()
            }
    measuring.write(options.json, figures, details | {"examples": examples})


if __name__ == "__main__":
    main()
