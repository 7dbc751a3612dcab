"""One side of the comparison in a process of its own, which works only when it is its turn.

Threads of one runtime that wait by spinning would slow the other's, and memory is a process's:
so each side gets a process. The parent asks for a step by a line on standard input; a line of JSON
comes back. Between its turns a worker is blocked in reading.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Protocol

PACKAGES = {
    "transformers": "torch and transformers",
    "transformers, tuned": "torch and transformers",
    "tunix": "google-tunix",
}
"""What the sides need besides this project."""


@dataclasses.dataclass(frozen=True)
class Spec:
    """What a worker trains on what.

    Attributes:
      side: "ours", "transformers", "transformers, tuned" or "tunix".
      objective: "sft" or "distill".
      sizes: of the decoder, a Llama: `width`, `layers`, `heads`, `kv_heads`, `head_width`,
        `ffn_width`, `vocab_size`.
      directory: holds the batches of packed rows.
    """

    side: str
    objective: str
    sizes: dict[str, int]
    directory: str

    @property
    def beta(self) -> float:
        """Weight of the divergence."""
        return {"sft": 0.0, "distill": 0.5}[self.objective]


class Stepper(Protocol):
    """A model with its optimizer.

    Attributes:
      warm: numbers of batches whose steps compile all there is to compile.
    """

    warm: list[int]

    def __call__(self, batch: int) -> dict[str, float]:
        """Trains one step on a batch, and waits for it; returns its `loss`, and `norm` if known."""
        ...


class Worker:
    """The parent's end of a worker.

    Raises:
      MissingPeer: if the worker lacks a package.
    """

    def __init__(self, spec: Spec):
        self.spec = spec
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.peer_worker", json.dumps(vars(spec))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        ready = self._answer()
        if missing := ready.get("missing"):
            self._process.wait()
            raise MissingPeer(f"{missing}; install {PACKAGES[spec.side]} with its dependencies")

    def step(self, batch: int) -> dict[str, float]:
        """`seconds` of a step on one batch and what it measured."""
        return self._ask(str(batch))

    def peak(self) -> int:
        """Ends the worker; returns the most bytes it ever had in memory."""
        peak = int(self._ask("end")["peak"])
        self._process.wait()
        return peak

    def _ask(self, line: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the worker of {self.spec.side} ended: {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


class MissingPeer(Exception):
    """A side that cannot be measured because a package is not installed; the text names it."""


def make(spec: Spec) -> Stepper:
    """The side's model, data and step; its packages are imported here and nowhere else."""
    if spec.side == "ours":
        from tests.benchmarks import peer_ours

        return peer_ours.stepper(spec)
    if spec.side == "tunix":
        from tests.benchmarks import peer_tunix

        return peer_tunix.stepper(spec)
    from tests.benchmarks import peer_transformers

    return peer_transformers.stepper(spec)


def main() -> None:
    """Serves steps until it is told to end."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # What libraries print is not an answer.

    def say(**answer: Any) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    spec = Spec(**json.loads(sys.argv[1]))
    try:
        stepper = make(spec)
    except ModuleNotFoundError as error:
        if spec.side not in PACKAGES:
            raise
        say(missing=str(error))
        return
    for batch in stepper.warm:
        stepper(batch)
    say(ready=True)
    for line in sys.stdin:
        if line.strip() == "end":
            say(peak=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
            return
        begin = time.perf_counter()
        measured = stepper(int(line))
        say(seconds=time.perf_counter() - begin, **measured)


if __name__ == "__main__":
    main()
