"""Runs the cells of a study side by side, each a process of its own; done ones are not done again.

Datasets come first, then runs: `xcot prep`, `xcot train` and the commands of the study's measures,
which continue where they were stopped. On a CPU each process has cores of its own.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from queue import SimpleQueue

from xcot_jax import config as config_files
from xcot_jax.errors import InputError
from xcot_jax.study.measures import MEASURES
from xcot_jax.study.plan import Cell, Plan

RUN_BYTES = 2 * 2**30
"""Memory left for each process of a study; fewer run side by side where there is less."""

START = "start"
"""Directory of the exported model that runs start from."""

KEPT_PAGES = ":".join(
    f"glibc.malloc.{setting}"
    for setting in ("hugetlb=1", "arena_max=1", "mmap_max=0", "trim_threshold=1000000000000")
)
"""`GLIBC_TUNABLES` that keep a step's temporaries, in large pages, for the next one."""

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Done:
    """A finished run.

    Attributes:
      cell: which one.
      directory: what it wrote.
    """

    cell: Cell
    directory: Path


def side_by_side(jobs: int = 0) -> int:
    """How many processes run at once: as asked for, else one a core where memory allows."""
    if jobs:
        return jobs
    cores = len(_cores())
    if "SC_AVPHYS_PAGES" not in os.sysconf_names:  # As on macOS.
        return cores
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    return max(1, min(cores, memory // RUN_BYTES))


def run(
    plan: Plan, out: Path, *, jobs: int = 0, known: Collection[str] = (), say: Say = print
) -> list[Done]:
    """Brings the cells of a study to their end.

    Args:
      plan: the study.
      out: directory of datasets, runs and logs.
      jobs: processes side by side; 0: `side_by_side`.
      known: names of cells that need not run.
      say: told of each end.

    Returns:
      the runs, in the plan's order.

    Raises:
      InputError: if `out` holds runs of other settings, or a process fails, with its log's end.
    """
    cells = [cell for cell in plan.cells if cell.name not in known]
    start = [plan.start] if plan.start and cells else []
    everything = [*start, *cells]
    for cell in everything:
        _check_settings(out, cell)
    out.mkdir(parents=True, exist_ok=True)
    lanes = _Lanes(side_by_side(jobs))
    first_of = {cell.data: cell for cell in reversed(everything)}
    say(f"{len(first_of)} datasets and {len(everything)} runs, {lanes.count} side by side")
    if known:
        say(f"{len(known)} more runs are known")
    begin = time.monotonic()

    def told(what: str) -> None:
        minutes = (time.monotonic() - begin) / 60
        say(f"[{minutes:5.1f} min] {what}")

    lanes.map(lambda cell: _prepare(plan, cell, out, lanes, told), list(first_of.values()))
    lanes.map(lambda cell: _start(plan, cell, out, lanes, told), start)
    lanes.map(lambda cell: _train(plan, cell, out, lanes, told), cells)
    return [Done(cell, _directory(out, cell)) for cell in cells]


class _Lanes:
    """Cores shared out, and the processes on them, which end together when one fails."""

    def __init__(self, count: int) -> None:
        self.count = count
        cores = _cores()
        self._free: SimpleQueue[set[int]] = SimpleQueue()
        for lane in range(count):
            self._free.put(set(cores[lane::count]) or {cores[lane % len(cores)]})
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._ended = False

    def map(self, work: Callable[[Cell], None], cells: Sequence[Cell]) -> None:
        """Works on all cells, so many at a time; the first error ends all."""
        with ThreadPoolExecutor(self.count) as pool:
            futures = [pool.submit(work, cell) for cell in cells]
            try:
                for future in wait(futures, return_when=FIRST_EXCEPTION).done:
                    future.result()
            except BaseException:
                self._end(futures)
                raise

    def _end(self, futures: Sequence) -> None:
        for future in futures:
            future.cancel()
        with self._lock:
            self._ended = True
            for process in self._running:
                process.terminate()  # A run saves where it is.

    def command(self, arguments: Sequence[str], log: Path) -> None:
        """Runs one command to its end, on a lane's cores.

        Raises:
          InputError: if it fails.
        """
        cores = self._free.get()
        try:
            with log.open("ab") as output, self._lock:
                if self._ended:
                    raise InputError("the study was ended")
                process = subprocess.Popen(
                    [sys.executable, "-m", "xcot_jax.cli", *arguments],
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=_environment(len(cores)),
                )
                if hasattr(os, "sched_setaffinity"):
                    os.sched_setaffinity(process.pid, cores)
                self._running.add(process)
            status = process.wait()
            with self._lock:
                self._running.discard(process)
        finally:
            self._free.put(cores)
        if status:
            end = log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise InputError(f"xcot {arguments[0]} ended with status {status}; {log} ends:\n{end}")


def _prepare(plan: Plan, cell: Cell, out: Path, lanes: _Lanes, told: Say) -> None:
    target = out / cell.data
    if target.exists():  # It appears by its name only when complete.
        return
    lanes.command(
        ["prep", f"--config={plan.file}:{cell.variant}", f"--out={target}", *plan.overrides],
        out / f"{cell.data}.log",
    )
    told(f"{cell.data}, of {cell.variant}")


def _start(plan: Plan, cell: Cell, out: Path, lanes: _Lanes, told: Say) -> None:
    """Trains the model that others start from, and exports it."""
    if (out / START).exists():
        return
    directory, log = _directory(out, cell), out / f"{cell.name}.log"
    lanes.command(_training(plan, cell, out), log)
    exported = f"--out={out / START}"
    lanes.command(["export", f"--workdir={directory}", exported, "--dtype=float32"], log)
    told(cell.name)


def _training(plan: Plan, cell: Cell, out: Path) -> list[str]:
    """The command that trains a run."""
    return [
        "train",
        f"--config={plan.file}:{cell.variant}",
        f"--workdir={_directory(out, cell)}",
        "--no-progress",
        *plan.overrides,
        f"--config.seed={cell.seed}",
        f"--config.data.dir={out / cell.data}",
    ]


def _train(plan: Plan, cell: Cell, out: Path, lanes: _Lanes, told: Say) -> None:
    directory = _directory(out, cell)
    measures = (MEASURES[name] for name in plan.study.measures)
    left = {m.command for m in measures if not (directory / "eval" / m.output).exists()}
    if not left:
        return
    log = out / f"{cell.name}.log"
    start = [f"--config.model.init_from={out / START}"] if plan.start else []
    lanes.command([*_training(plan, cell, out), *start], log)
    for command in sorted(left):
        lanes.command([command, f"--workdir={directory}"], log)
    told(cell.name)


def _directory(out: Path, cell: Cell) -> Path:
    return out / cell.name


def _check_settings(out: Path, cell: Cell) -> None:
    """Refuses to continue a run with other settings: its table would mix two studies."""
    saved = _directory(out, cell) / "config.json"
    if not saved.exists():
        return
    before = config_files.load(saved)
    differ = config_files.differences(before, cell.settings)
    for key in ("data.dir", "model.init_from"):  # Of places, which the study chooses.
        differ.pop(key, None)
    if not differ and Path(before.data.dir).name != cell.data:
        differ = {"data.dir": (before.data.dir, cell.data)}
    if differ:
        key, (before, now) = next(iter(differ.items()))
        raise InputError(
            f"{saved.parent} was run with {key}={before!r}, and the study now has {now!r}; choose "
            "another --out, or remove that directory"
        )


def _cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _environment(cores: int) -> dict[str, str]:
    """Of a process on so many cores: what it holds back otherwise, others wait for."""
    flags = os.environ.get("XLA_FLAGS", "")
    if cores == 1:
        flags += " --xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    malloc = os.environ.get("GLIBC_TUNABLES", KEPT_PAGES)
    return os.environ | {"XLA_FLAGS": flags.strip(), "GLIBC_TUNABLES": malloc}
