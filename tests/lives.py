"""Runs of `xcot prep` and `xcot train` as processes that are killed, and what they leave."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

ROOT = Path(__file__).parent.parent
CONFIG = ROOT / "configs" / "quickstart_xcot.py"
EVAL_EVERY, SAVE_EVERY = 8, 7
_PREP = {"story.high_count": 24, "story.low_count": 4, "story.heldout_count": 2, "workers": 1}
_TRAIN = {
    "data.row_tokens": 192,
    "data.row_slots": 64,
    "data.batch_rows": 4,
    "data.packing_bins": 8,
    "model.width": 32,
    "model.layers": 1,
    "model.heads": 2,
    "optim.learning_rate": 0.003,
    "train.log_every": 1,
    "train.checkpoint_every": SAVE_EVERY,
    "train.eval_every": EVAL_EVERY,
    "train.eval_batches": 1,
    "train.eval_limit": 1,
    "eval.languages": "en,sw",
    "eval.batch_size": 1,
    "eval.max_new_tokens": 8,
}
_EXACT = ("step", "loss", "ce", "kl", "gradient_norm", "learning_rate", "records_crc")


@dataclasses.dataclass
class Life:
    """One process, from its start to its end."""

    process: subprocess.Popen
    log: Path

    def finish(self) -> None:
        """Waits for a good end."""
        if self.process.wait():
            raise AssertionError(f"status {self.process.returncode}:\n{self.log.read_text()}")

    def over(self) -> bool:
        """Whether it has ended."""
        return self.process.poll() is not None

    def end(self, kind: signal.Signals) -> str:
        """Sends a signal and waits for the end; returns what is wrong about that, or ""."""
        self.process.send_signal(kind)
        status = self.process.wait()
        output = self.log.read_text()
        if "damaged" in output or "Traceback" in output:
            return output[-2000:]
        good = [-signal.SIGKILL] if kind == signal.SIGKILL else [128 + kind]
        if not output:
            good.append(-kind)  # Before the interpreter was there to catch anything.
        return "" if status in (0, *good) else f"status {status}: {output[-2000:]}"


@dataclasses.dataclass(frozen=True)
class Moment:
    """What a run is doing, as far as its directory tells.

    Attributes:
      phase: start, step, save or evaluation.
      step: the last one whose metrics are written.
    """

    phase: str
    step: int


@dataclasses.dataclass
class Run:
    """A dataset and a training run on it, in directories of their own."""

    directory: Path
    steps: int
    compiled: Path
    lives: int = 0
    _before: tuple[int, int] = (0, 0)

    @property
    def data(self) -> Path:
        """Of the dataset."""
        return self.directory / "data"

    @property
    def workdir(self) -> Path:
        """Of the training run."""
        return self.directory / "run"

    def prepare(self) -> Life:
        """Starts `xcot prep`."""
        settings = {f"prep.{key}": value for key, value in _PREP.items()}
        return self._start(["prep", f"--out={self.data}"], settings)

    def train(self) -> Life:
        """Starts `xcot train`, from where it was."""
        self._before = self._inode(), max(self.checkpoints(), default=0)
        settings = _TRAIN | {"data.dir": self.data, "train.steps": self.steps}
        return self._start(["train", f"--workdir={self.workdir}", "--no-progress"], settings)

    def _start(self, command: list[str], settings: dict[str, Any]) -> Life:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.lives += 1
        log = self.directory / f"life_{self.lives:03}.log"
        flags = [f"--config.{key}={value}" for key, value in settings.items()]
        environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | {
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(self.compiled),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        with log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "xcot_jax.cli", *command, f"--config={CONFIG}", *flags],
                cwd=ROOT,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return Life(process, log)

    def _inode(self) -> int:
        path = self.workdir / "metrics.jsonl"
        return path.stat().st_ino if path.exists() else 0

    def checkpoints(self) -> list[int]:
        """The steps of complete checkpoints."""
        return [int(p.name) for p in (self.workdir / "checkpoints").glob("*") if p.name.isdigit()]

    def last(self) -> Path:
        """The newest checkpoint."""
        return self.workdir / "checkpoints" / str(max(self.checkpoints()))

    def metrics(self) -> list[dict[str, Any]]:
        """What is written of each step and evaluation, but for times."""
        found = []
        for line in (self.workdir / "metrics.jsonl").read_text().splitlines():
            row = json.loads(line)
            names = _EXACT if "loss" in row else row
            found.append({name: row[name] for name in names})
        return found

    def now(self) -> Moment:
        """What the life that was started last is doing."""
        inode, resumed = self._before
        if self._inode() == inode:  # The file is written anew before the first step.
            return Moment("start", resumed)
        last = self._last_line()
        step = last.get("step", resumed)
        if any((self.workdir / "checkpoints").glob("*.orbax-checkpoint-tmp*")):
            return Moment("save", step)
        if step and step % EVAL_EVERY == 0 and "loss" in last:
            return Moment("evaluation", step)
        return Moment("step" if step > resumed else "start", step)

    def _last_line(self) -> dict[str, Any]:
        with (self.workdir / "metrics.jsonl").open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - 4096, 0))
            lines = file.read().split(b"\n")
        try:
            return json.loads(lines[-2])
        except (IndexError, ValueError):
            return {}

    def wait_for(self, life: Life, phase: str, step: int) -> None:
        """Waits until a life is past a step and in a phase, or well past it, or over."""
        while not life.over():
            now = self.now()
            if now.step >= step + 2 * EVAL_EVERY or (now.step >= step and now.phase == phase):
                return
            time.sleep(0.003)


def same_bytes(one: Path, other: Path) -> bool:
    """Whether two directories hold the same files."""
    files = [
        {p.relative_to(d): p.read_bytes() for p in d.rglob("*") if p.is_file()}
        for d in (one, other)
    ]
    return bool(files[0]) and files[0] == files[1]


def same_states(one: Path, other: Path) -> bool:
    """Whether two checkpoints are of one step and agree in every bit of every array."""
    read = lambda path: jax.tree.leaves(ocp.PyTreeCheckpointer().restore(path.absolute() / "state"))
    pairs = list(zip(read(one), read(other), strict=True))
    bits = lambda x: (np.asarray(x).dtype, np.asarray(x).shape, np.asarray(x).tobytes())
    return one.name == other.name and bool(pairs) and all(bits(a) == bits(b) for a, b in pairs)
