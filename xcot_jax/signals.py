"""SIGTERM and Ctrl-C as requests, met where a run can stop without losing anything."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any


class Stop:
    """While entered, notes SIGTERM and Ctrl-C in place of what they do; a second Ctrl-C interrupts.

    May be entered again inside, where a library has put a handler of its own in between.

    Attributes:
      requested: name of the signal that asked to stop, or "".
    """

    def __init__(self) -> None:
        self.requested = ""
        self._before: list[dict[int, Any]] = []

    def __enter__(self) -> Stop:
        numbers = (signal.SIGTERM, signal.SIGINT)
        self._before.append({number: signal.signal(number, self._note) for number in numbers})
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._before.pop().items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = signal.Signals(number).name

    def anywhere(self) -> bool:
        """Whether any process of the run is asked to stop; each waits for all."""
        from xcot_jax import distributed  # Handlers come first, JAX later.

        return distributed.any_process(bool(self.requested))

    def before_the_first_step(self) -> None:
        """Ends the run if it is asked to stop, while there is nothing to save.

        Raises:
          SystemExit: with the signal's status.
        """
        if self.anywhere():
            print(f"{self.name}: stopped before the first step; nothing to save")
            raise SystemExit(self.status)

    @property
    def name(self) -> str:
        """Of the signal, where it was another process that got it: SIGTERM."""
        return self.requested or "SIGTERM"

    @property
    def status(self) -> int:
        """What the command ends with: 128 and the number of the signal."""
        return 128 + signal.Signals[self.name].value
