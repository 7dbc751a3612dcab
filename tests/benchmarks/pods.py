"""Certifies the configs for TPU slices, and prints the tables of docs/pods.md.

    python -m tests.benchmarks.pods DIR

Runs `xcot compile` for each row of `RUNS` and keeps what it says in DIR, one file a run; those that
are there are not compiled again. Needs the package libtpu and no TPU; a compilation takes one to
three minutes. `--tables` prints the tables of what is there and compiles nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

from tests.benchmarks import measuring
from xcot_jax import cli

GIB = 2**30
SHORT = ("--config.data.row_tokens=1024", "--config.data.row_slots=256")


@dataclasses.dataclass(frozen=True)
class Run:
    """One certificate.

    Attributes:
      config: name of a file of `configs/`, and its variant.
      topology: what it is compiled for.
      more: further arguments of the command.
    """

    config: str
    topology: str
    more: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        """Name of the file that keeps it."""
        short = "-1024" if SHORT[0] in self.more else ""
        return f"{self.config.replace(':', '-')}{short}.json"

    @property
    def arguments(self) -> list[str]:
        """The command's arguments."""
        name, _, variant = self.config.partition(":")
        return [f"--config=configs/{name}.py:{variant}", f"--topology={self.topology}", *self.more]


LLAMA = "xcot_llama2_7b"
OTHERS = ("xcot_llama2_13b", "xcot_bloom_7b1", "xcot_qwen3_8b", "xcot_gemma2_9b")
SEARCHED = tuple(
    Run(f"{name}:v5e-64", "v5e:8x8", ("--search",)) for name in (LLAMA, "xcot_bloom_7b1")
)
SHORT_ROWS = tuple(Run(run.config, run.topology, SHORT) for run in SEARCHED)
SIZES = (
    Run(f"{LLAMA}:v5e-16", "v5e:4x4"),
    SEARCHED[0],
    Run(f"{LLAMA}:v5e-256", "v5e:16x16"),
)
CONFIGS = (
    *SIZES,
    Run(f"{LLAMA}:v6e-64", "v6e:8x8"),
    Run(f"{LLAMA}:v5p-128", "v5p:4x4x4"),
    Run("mathoctopus_llama2_7b:v5e-64", "v5e:8x8"),
    *(
        run
        for name in OTHERS
        for run in (
            SEARCHED[1] if "bloom" in name else Run(f"{name}:v5e-64", "v5e:8x8"),
            Run(f"{name}:v6e-64", "v6e:8x8"),
        )
    ),
)
RUNS = (*CONFIGS, *SHORT_ROWS)


def fits(runs: tuple[Run, ...], records: dict[Run, dict[str, Any]]) -> str:
    """What each run takes of a chip, and the least time of its step."""
    header = (
        "config",
        "topology",
        "rows a chip",
        "most",
        "GiB used",
        "of",
        "state and batch",
        "temporaries",
        "sent, GiB a step",
        "products, s",
        "HBM, s",
        "links, s",
        "MFU at best",
        "tokens/s at best",
    )
    rows = []
    for run in runs:
        if not (record := records.get(run)):
            continue
        start = [f"`{run.config}`", run.topology]
        most = str(record.get("most_rows_a_chip", ""))
        if not record["fits"]:
            rows.append([*start, f"{record['rows_a_chip']}: no", most] + [""] * 10)
            continue
        sizes = ("hbm", "capacity", "arguments", "temporaries")
        rows.append(
            [
                *start,
                str(record["rows_a_chip"]),
                most,
                *(f"{record[f'{name}_bytes'] / GIB:.2f}" for name in sizes),
                f"{sum(record['sent_bytes'].values()) / GIB:.1f}",
                *(f"{record[f'{name}_seconds']:.2f}" for name in ("compute", "memory", "links")),
                f"{record['mfu']:.0%}",
                f"{record['tokens_per_s']:,.0f}",
            ]
        )
    return measuring.markdown(header, rows, 2)


def sent(runs: tuple[Run, ...], records: dict[Run, dict[str, Any]]) -> str:
    """What a chip sends in a step, by kind, on slices of several sizes."""
    found = [(run, records[run]) for run in runs if run in records]
    kinds = sorted({kind for _, record in found for kind in record["sent_bytes"]})
    rows = []
    for run, record in found:
        chips = record["mesh"]["data"] * record["mesh"]["fsdp"] * record["mesh"]["tensor"]
        moved = [record["sent_bytes"].get(kind, 0) for kind in kinds]
        sizes = (f"{size / GIB:.2f}" for size in (*moved, sum(moved)))
        rows.append([run.topology, str(chips), *sizes, f"{record['hbm_bytes'] / GIB:.2f}"])
    header = ("topology", "chips", *kinds, "all sent, GiB a chip and step", "HBM, GiB")
    return measuring.markdown(header, rows)


def main() -> None:
    """Runs the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--tables", action="store_true", help="compile nothing")
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    records: dict[Run, dict[str, Any]] = {}
    for run in RUNS:
        file = options.directory / run.file
        if not file.exists() and not options.tables:
            with contextlib.suppress(SystemExit):  # It does not fit, which its file tells.
                cli.run(["compile", *run.arguments, f"--json={file}"])
        if file.exists():
            records[run] = json.loads(file.read_text())
    for title, table in (
        ("The configs", fits(CONFIGS, records)),
        ("Rows of 1,024 tokens", fits(SHORT_ROWS, records)),
        ("More chips", sent(SIZES, records)),
    ):
        print(f"\n## {title}\n\n{table}")


if __name__ == "__main__":
    main()
