"""Interleaved timing and the form of every benchmark's output."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

# JAX is imported where it is needed: workers of a benchmark import this file too.


def interleaved(calls: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each call, taken in turn so that a drifting machine slows all of them alike.

    Each call runs once before, to compile; results are waited for.
    """
    import jax

    for call in calls.values():
        jax.block_until_ready(call())
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            begin = time.perf_counter()
            jax.block_until_ready(call())
            seconds[name].append(time.perf_counter() - begin)
    return seconds


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Median of the pairwise ratios of interleaved timings."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Columns aligned; numbers are given as text."""
    cells = [list(map(str, row)) for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            c.rjust(w) if i else c.ljust(w)
            for i, (c, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]
    return "\n".join(lines)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]], text: int = 1) -> str:
    """A table for the documentation; columns from number `text` on are aligned to the right."""
    rule = ["---" if column < text else "--:" for column in range(len(header))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, rule, *rows))


def parser(description: str) -> argparse.ArgumentParser:
    """The options every benchmark has."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--json", type=Path, help="file for the figures and all measurements")
    options.add_argument(
        "--rounds", type=int, default=7, help="interleaved timings of each variant"
    )
    return options


def write(path: Path | None, figures: Mapping[str, float], details: Mapping[str, Any]) -> None:
    """Prints the headline figures and writes everything as JSON."""
    for name, value in figures.items():
        print(f"{name} = {value:.4g}")
    if path:
        import jax

        device = jax.devices()[0].device_kind
        record = {
            "figures": dict(figures),
            "details": dict(details),
            "machine": {"device": device, "platform": platform.platform(), "jax": jax.__version__},
        }
        path.write_text(json.dumps(record, indent=2) + "\n")
