"""How fast `xcot prep` makes groups, where the time goes, and that memory stays flat.

    python -m tests.benchmarks.prep --json=FILE [--problems=FILE]

The problems are those of a parallel JSON Lines file, or of the embedded corpus. Throughput is that
of making and writing groups, start of the workers included; the stages before are listed apart.
For memory, whole runs of the command are measured, of 10^4 and of 10^6 groups.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_prep import build, corpus, making, sources
from data_prep.data_card import Tally
from data_prep.making import Order
from data_prep.problems import Problem
from tests.benchmarks.measuring import parser, ratio, table, write
from xcot_jax.data import dataset
from xcot_jax.settings import MixtureSettings, PrepSettings, Settings, StorySettings, XiclSettings

MIXTURES = {
    "instruct": MixtureSettings(instruct=1.0),
    "xicl + random_cot": MixtureSettings(instruct=0.0, xicl=1.0, random_cot=1.0),
}
COPIES = 3  # Of each question, so that starting workers counts as it does in a large run.
SMALL, LARGE = 10_000, 1_000_000


def settings(problems: Path | None, mixture: str, copies: int = COPIES) -> Settings:
    """The run that is measured; code-switching takes the embedded lexicon, into all languages."""
    prep = PrepSettings(
        source="parallel" if problems else "story",
        path=str(problems or ""),
        mixture=MIXTURES[mixture],
        repeat_low_resource=copies,
        xicl=XiclSettings(demonstrations=1),
        story=StorySettings(high_count=5_000, low_count=5_000, heldout_count=0),
    )
    return Settings(high_resource=("en",), prep=prep)


def stages(run: Settings, directory: Path) -> tuple[dict[str, Any], dict[str, float]]:
    """What groups are made of, and the seconds that each stage before took."""
    seconds = {}
    begin = time.perf_counter()
    found = corpus.prepare(run, directory, directory / "cache.sqlite")
    seconds["read and filter"] = time.perf_counter() - begin
    begin = time.perf_counter()
    lexicon = build.make_lexicon(run, found.splits["train"], directory)
    works = build.make_works(run, found, lexicon, directory)
    seconds["lexicon and pool"] = time.perf_counter() - begin
    begin = time.perf_counter()
    orders = {split: Order(work) for split, work in works.items()}
    seconds["order"] = time.perf_counter() - begin
    return {"works": works, "orders": orders}, seconds


def throughput(mixture: str, problems: Path | None, rounds: int) -> dict[str, Any]:
    """Groups a second of one and of two workers, interleaved."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        job, seconds = stages(settings(problems, mixture), directory)
        times: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(rounds):
            for workers in times:
                begin = time.perf_counter()
                records = making.make(job["works"], job["orders"], workers, Tally())
                count = dataset.write_records(directory, records, 4)["train"]
                times[workers].append(time.perf_counter() - begin)
        size = sum(f.stat().st_size for f in directory.glob("*.tfrecord-*"))
        return {
            "groups": count,
            "bytes": size,
            "one_worker_per_s": count / statistics.median(times[1]),
            "two_workers_per_s": count / statistics.median(times[2]),
            "speedup": ratio(times[1], times[2]),
            "seconds": times,
            "stages": seconds | {"make and write, 1 worker": statistics.median(times[1])},
        }


def enlarged(problems: list[Problem], groups: int) -> Iterator[dict[str, Any]]:
    """Rows of a parallel file that gives about so many groups, without a repeated question."""
    each = statistics.mean(len(p.question) - 1 for p in problems)
    for number in range(round(groups / each)):
        problem = problems[number % len(problems)]
        mark = f" [{number}]"
        yield {
            "id": number,
            "question": {code: text + mark for code, text in problem.question.items()},
            "answer": f"{problem.rationale}\n#### {problem.answer}",
        }


def peak_memory(problems: Path | None, groups: int, directory: Path) -> dict[str, float]:
    """Peak resident bytes of a whole run of the command, of the larger of its processes."""
    run = settings(problems, "instruct", copies=1)
    source = [problem for _, problem in sources.read(run, Tally().dropped)]
    path = directory / f"{groups}.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for row in enlarged(source, groups):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    config = {
        "high_resource": ["en"],
        "prep": dataclasses.asdict(run.prep) | {"source": "parallel", "path": str(path)},
    }
    (directory / "config.json").write_text(json.dumps(config))
    out = directory / f"data_{groups}"
    program = (
        "import json, resource, sys, time; from xcot_jax import cli; begin = time.perf_counter(); "
        "cli.run(sys.argv[1:]); print(json.dumps({'seconds': time.perf_counter() - begin, "
        "'peak': max(resource.getrusage(who).ru_maxrss for who in "
        "(resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "prep", f"--config={directory / 'config.json'}"]
        + [f"--out={out}"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    measured = json.loads(done.stdout.splitlines()[-1])
    made = json.loads((out / build.CARD_FILE).read_text())["groups"]["train"]
    return {
        "groups": made,
        "peak_bytes": measured["peak"] * 1024,
        "seconds": measured["seconds"],
    }


def main() -> None:
    """Measures, prints and writes."""
    options = parser(__doc__.splitlines()[0])
    options.set_defaults(rounds=3)
    options.add_argument("--problems", type=Path, help="parallel JSON Lines file")
    options.add_argument("--no-memory", action="store_true", help="leave out the memory runs")
    asked = options.parse_args()
    details: dict[str, Any] = {
        name: throughput(name, asked.problems, asked.rounds) for name in MIXTURES
    }
    rows = [
        (
            name,
            f"{row['groups']:,}",
            f"{row['bytes'] / 1e6:.1f}",
            f"{row['one_worker_per_s']:,.0f}",
            f"{row['two_workers_per_s']:,.0f}",
            f"{row['speedup']:.2f}",
        )
        for name, row in details.items()
    ]
    header = ("mixture", "groups", "MB", "groups/s, 1 worker", "2 workers", "speedup")
    print(table(header, rows))
    for name, row in details.items():
        print(f"\n{name}: where the time goes")
        print(table(("stage", "s"), [(k, f"{v:.2f}") for k, v in row["stages"].items()]))
    mixed = details["xicl + random_cot"]
    figures = {
        "instruct_groups_per_s": max(
            details["instruct"]["one_worker_per_s"], details["instruct"]["two_workers_per_s"]
        ),
        "mixed_groups_per_s": mixed["two_workers_per_s"],
        "two_worker_speedup": mixed["speedup"],
    }
    if not asked.no_memory:
        with tempfile.TemporaryDirectory() as name:
            memory = [peak_memory(asked.problems, n, Path(name)) for n in (SMALL, LARGE)]
        details["memory"] = memory
        print("\nwhole runs of the command")
        print(
            table(
                ("groups", "peak MB", "s"),
                [
                    (f"{m['groups']:,}", f"{m['peak_bytes'] / 1e6:,.0f}", f"{m['seconds']:.0f}")
                    for m in memory
                ],
            )
        )
        figures["memory_growth"] = memory[1]["peak_bytes"] / memory[0]["peak_bytes"]
    print()
    write(asked.json, figures, details)


if __name__ == "__main__":
    main()
