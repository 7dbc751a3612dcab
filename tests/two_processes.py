"""Two processes of four CPU devices each that run commands together, as two hosts would.

`Pair` starts them from a test, each as `python -m tests.two_processes`, which runs command after
command: a process is slow to start.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.compiling import HASTE, environment

ROOT = Path(__file__).parent.parent

# Process 1 finds none of the compiled programs that process 0 keeps, so it should compile quickly.
_FLAGS = (
    f"{HASTE} --xla_force_host_platform_device_count=4 --xla_llvm_disable_expensive_passes=true"
)


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


class Pair:
    """Two processes of one run; see `run`.

    Attributes:
      processes: process 0, which coordinates, and process 1.
    """

    def __init__(self, directory: Path):
        self._logs = [directory / f"process{number}.log" for number in range(2)]
        port = free_port()
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.two_processes"],
                cwd=ROOT,
                env=environment(_FLAGS)
                | {
                    "XCOT_COORDINATOR": f"localhost:{port}",
                    "XCOT_PROCESS_COUNT": "2",
                    "XCOT_PROCESS_ID": str(number),
                },
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log.open("w"),
                text=True,
            )
            for number, log in enumerate(self._logs)
        ]

    def start(self, arguments: Sequence[str], *, of_process_1: Sequence[str] = ()) -> None:
        """Has both run a command, or process 1 another."""
        for process, own in zip(self.processes, (arguments, of_process_1), strict=True):
            process.stdin.write(json.dumps([str(a) for a in own or arguments]) + "\n")
            process.stdin.flush()

    def statuses(self) -> list[int]:
        """What the command ended with in each; -1 where the process itself has ended."""
        return [int(process.stdout.readline() or -1) for process in self.processes]

    def run(self, arguments: Sequence[str]) -> None:
        """Runs a command in both, which has to succeed."""
        self.start(arguments)
        assert self.statuses() == [0, 0], self.output()

    def output(self, number: int | None = None) -> str:
        """What a process, or both, printed until now."""
        chosen = self._logs if number is None else [self._logs[number]]
        return "\n".join(log.read_text()[-4000:] for log in chosen)

    def close(self) -> None:
        """Ends both."""
        for process in self.processes:
            if process.poll() is None:
                process.stdin.close()
        for process in self.processes:
            process.wait(timeout=60)


def main() -> None:
    """Runs the commands of standard input, one a line; answers each with its status."""
    from xcot_jax import cli

    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # What the commands and their libraries print goes to the log.
    for line in sys.stdin:
        sys.argv = ["xcot", *json.loads(line)]
        try:
            cli.main()
            status = 0
        except SystemExit as end:
            status = end.code
        sys.stdout.flush()
        answers.write(f"{status}\n")


if __name__ == "__main__":
    main()
