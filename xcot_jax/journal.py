"""What the training loop knows of its steps, told a step late so that devices never wait for it.

Here a step whose loss or gradient is not finite is noticed. It changed nothing (see
`train_step.make_train_step`), so there is time to say which records it had.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping

import jax
import numpy as np

from xcot_jax import distributed, metrics
from xcot_jax.data.loader import HostBatch, Loader
from xcot_jax.errors import InputError
from xcot_jax.files import AnyPath, write_whole
from xcot_jax.models.config import ModelConfig
from xcot_jax.optimizer import schedule
from xcot_jax.settings import Settings
from xcot_jax.train_step import StepMetrics

NONFINITE_FILE = "nonfinite.jsonl"
"""In the working directory: the steps without a finite loss and gradient, and all their records."""

_NAMED = 20
"""Records that a message names; the file has the rest."""


@dataclasses.dataclass(frozen=True)
class _Step:
    """A step whose metrics may still be on their way; `more` is None where none are written."""

    number: int
    metrics: StepMetrics
    records: np.ndarray
    more: Mapping[str, float] | None


class Journal:
    """Writes the metrics of steps, and stops a run that computes what is not finite."""

    def __init__(
        self,
        settings: Settings,
        config: ModelConfig,
        workdir: AnyPath,
        writer: metrics.MetricsWriter,
        batches: Loader,
        newest_saved: Callable[[], int | None],
        *,
        start: int,
        skipped: int,
    ):
        """Begins.

        Args:
          settings: of the run.
          config: of the model, to count FLOPs.
          workdir: of the run.
          writer: where metrics go.
          batches: where batches come from.
          newest_saved: the step of the newest checkpoint, if there is one.
          start: the last step done.
          skipped: steps left out until then.
        """
        self._settings, self._config, self._workdir = settings.train, config, workdir
        self._writer, self._batches, self._newest_saved = writer, batches, newest_saved
        self._rate = schedule(settings.optim, settings.train.steps)
        self._first, self._skipped, self._in_a_row = start + 1, skipped, 0
        self._throughput = metrics.Throughput()
        self._pending: _Step | None = None

    def add(self, step: int, found: StepMetrics, batch: HostBatch, waited: float) -> None:
        """Takes note of a step that is under way, and settles the one before.

        Args:
          step: its number.
          found: what it measures.
          batch: what it trains on.
          waited: seconds its input took to come.

        Raises:
          InputError: if the step before was not finite and stops the run.
        """
        self._writer.advance()
        self.settle()
        self._throughput.add(batch, self._config, waited)
        more = None
        if step % self._settings.log_every == 0 or step in (self._first, self._settings.steps):
            more = self._throughput.read() | {
                # A step that was left out has not moved the schedule on.
                "learning_rate": float(self._rate(step - 1 - self._skipped)),
                "fill": batch.fill,
                "records_crc": batch.fingerprint(),
                "dropped_groups": len(self._batches.dropped.ids),
            }
        self._pending = _Step(step, found, batch.rows["records"], more)

    def settle(self) -> None:
        """Waits for the step that was added last, looks at it and writes it.

        Raises:
          InputError: if it was not finite and stops the run.
        """
        step, self._pending = self._pending, None
        if step is None:
            return
        finite = self._look(step)
        if step.more is not None or not finite:
            scalars = metrics.as_scalars(step.metrics) | dict(step.more or {})
            if self._skipped:
                scalars["skipped_steps"] = self._skipped
            self._writer.write(step.number, {k: v for k, v in scalars.items() if math.isfinite(v)})

    def pause(self) -> None:
        """Leaves the time since the last written step out of the throughput."""
        self._throughput.skip()

    def _look(self, step: _Step) -> bool:
        """Whether a step was finite; if it was not, says so and counts it, or ends the run."""
        found = step.metrics.loss, step.metrics.gradient_norm
        loss, norm = map(float, jax.device_get(found))
        if math.isfinite(loss) and math.isfinite(norm):
            self._in_a_row = 0
            return True
        self._skipped, self._in_a_row = self._skipped + 1, self._in_a_row + 1
        ids = self._records_of_all(step.records)
        entry = {"step": step.number, "loss": str(loss), "gradient_norm": str(norm), "records": ids}
        if distributed.is_main():
            path = self._workdir / NONFINITE_FILE
            before = path.read_text(encoding="utf-8") if path.exists() else ""
            write_whole(path, before + json.dumps(entry, ensure_ascii=False) + "\n")
        what = (
            f"step {step.number}: the loss is {loss}, the gradient's norm {norm}; the weights stay "
            f"as they were. Its records: {', '.join(ids[:_NAMED])}"
        )
        if len(ids) > _NAMED:
            what += f" and {len(ids) - _NAMED} more, all in {self._workdir / NONFINITE_FILE}"
        if self._settings.skip_nonfinite and self._in_a_row < self._settings.nonfinite_limit:
            if distributed.is_main():
                self._writer.say(f"warning: {what}")
            return False
        way_out = "lower optim.learning_rate, look at these records, or set train.skip_nonfinite"
        if step.number == 1:
            way_out = "look at the weights the run begins with, and at these records"
        if self._settings.skip_nonfinite:
            way_out = (
                f"that was {self._in_a_row} steps in a row (train.nonfinite_limit); lower "
                "optim.learning_rate, or go back to an earlier checkpoint"
            )
        saved = self._newest_saved()
        kept = "nothing is saved yet" if saved is None else f"the newest checkpoint is step {saved}"
        raise InputError(f"{self._workdir}: {what}; {kept}. {way_out[0].upper()}{way_out[1:]}")

    def _records_of_all(self, records: np.ndarray) -> list[str]:
        """The ids of a step's records, of all hosts in turn."""
        own = json.dumps(self._batches.group_ids(records))
        return [name for part in distributed.gather(own) for name in json.loads(part)]
