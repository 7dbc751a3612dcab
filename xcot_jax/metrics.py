"""What a run reports: metrics.jsonl, TensorBoard events, the progress bar, throughput and MFU."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tqdm

from xcot_jax import distributed
from xcot_jax.data import packing
from xcot_jax.data.loader import HostBatch
from xcot_jax.devices import peak_flops
from xcot_jax.errors import InputError
from xcot_jax.files import AnyPath, is_remote, write_whole
from xcot_jax.importing import without
from xcot_jax.languages import CODES
from xcot_jax.models import counting
from xcot_jax.models.config import ModelConfig
from xcot_jax.train_step import StepMetrics

with without("torch"):  # Looked for only to know its tensors, which never come here.
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event, SessionLog
    from tensorboardX.proto.summary_pb2 import Summary

_log = logging.getLogger(__name__)

_WRITE_SECONDS = 30
"""Between two writings of `metrics.jsonl` to object storage."""
_FLUSH_SECONDS = 60
"""Between two flushes of TensorBoard's events to disk."""


def training_flops(rows: packing.Ragged, config: ModelConfig) -> int:
    """Model FLOPs of one step on these rows, forward and backward; padding does no useful work."""
    lengths: list[int] = []
    for row in rows["segment_ids"]:
        lengths += np.bincount(row)[1:].tolist()
    return counting.training_flops(config, lengths, int(packing.predicted(rows).sum()))


@dataclasses.dataclass
class Throughput:
    """Tokens, model FLOPs and seconds since the last reading."""

    tokens: int = 0
    flops: int = 0
    waited: float = 0.0
    since: float = dataclasses.field(default_factory=time.perf_counter)

    def add(self, batch: HostBatch, config: ModelConfig, waited: float) -> None:
        """Counts a step, as if all hosts' rows were like these, and the seconds its input took."""
        share = len(batch.numbers) / batch.total
        self.tokens += int((batch.rows["segment_ids"] > 0).sum() / share)
        self.flops += int(training_flops(batch.rows, config) / share)
        self.waited += waited

    def read(self) -> dict[str, float]:
        """Rates over all hosts since the last reading, which starts anew."""
        now = time.perf_counter()
        seconds = max(now - self.since, 1e-9)
        rates = {
            "tokens_per_s": self.tokens / seconds,
            "mfu": self.flops / seconds / peak_flops(),
            "input_wait": self.waited / seconds,
        }
        self.tokens, self.flops, self.waited, self.since = 0, 0, 0.0, now
        return rates

    def skip(self) -> None:
        """Leaves the time until now out of the next reading."""
        self.tokens, self.flops, self.waited, self.since = 0, 0, 0.0, time.perf_counter()


def as_scalars(metrics: StepMetrics, prefix: str = "") -> dict[str, float]:
    """The metrics as plain numbers, languages that occurred as `ce/<code>`."""
    host = jax.device_get(metrics)
    scalars = {f"{prefix}{name}": float(getattr(host, name)) for name in ("loss", "ce", "kl")}
    for code, total, count in zip(CODES, host.ce_sums, host.ce_counts, strict=True):
        if count:
            scalars[f"{prefix}ce/{code}"] = float(total) / float(count)
    if not prefix:
        scalars["gradient_norm"] = float(host.gradient_norm)
    return scalars


def combine(parts: list[StepMetrics]) -> StepMetrics:
    """One evaluation from its batches, weighted by their response tokens."""
    hosts = [jax.device_get(part) for part in parts]
    weights = np.array([part.ce_counts.sum() for part in hosts])
    share = weights / max(weights.sum(), 1e-9)

    def mean(name: str) -> np.ndarray:
        return np.asarray(sum(getattr(p, name) * s for p, s in zip(hosts, share, strict=True)))

    return StepMetrics(
        loss=mean("loss"),
        ce=mean("ce"),
        kl=mean("kl"),
        ce_sums=np.sum([p.ce_sums for p in hosts], axis=0),
        ce_counts=np.sum([p.ce_counts for p in hosts], axis=0),
        gradient_norm=mean("gradient_norm"),
    )


class MetricsWriter:
    """Writes scalars to `metrics.jsonl` and TensorBoard, and shows them in a progress bar.

    Only the first process writes. Lines of steps after `start`, left by a run that was killed after
    its last checkpoint, are removed, as those steps are done again.
    """

    def __init__(self, workdir: AnyPath, *, start: int, steps: int, progress: bool = True):
        self._first = jax.process_index() == 0
        if not self._first:
            return
        self._path = path = workdir / "metrics.jsonl"
        kept = ""
        if path.exists():
            lines = [line for line in path.read_text().splitlines() if _step(line) <= start]
            kept = "".join(line + "\n" for line in lines)
            write_whole(path, kept)
        if is_remote(path):
            self._file: Any = _Object(path, kept)
            self._board = None  # Events grow by the record, and objects do not.
        else:
            self._file = Path(path).open("a", encoding="utf-8", buffering=1)  # noqa: SIM115
            self._board = _Board(Path(workdir) / "tensorboard", start)
        self._bar = tqdm.tqdm(
            total=steps,
            initial=start,
            unit="step",
            dynamic_ncols=True,
            disable=not progress,
            smoothing=0.05,
        )

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Records the scalars of a step.

        Raises:
          InputError: if they cannot be written, as where no room is left.
        """
        if not self._first:
            return
        with self._explained():
            self._file.write(json.dumps({"step": step, **scalars}) + "\n")
        if self._board:
            self._board.write(step, scalars)
        names = [name for name in ("loss", "ce", "kl") if name in scalars]
        shown: dict[str, float | str] = {name: scalars[name] for name in names}
        if "tokens_per_s" in scalars:
            shown["tok/s"] = round(scalars["tokens_per_s"])
            shown["MFU"] = f"{scalars['mfu']:.0%}"
        self._bar.set_postfix(shown, refresh=False)

    def advance(self) -> None:
        """Moves the progress bar one step on."""
        if self._first:
            self._bar.update()

    def say(self, text: str) -> None:
        """Prints a line beside the progress bar."""
        tqdm.tqdm.write(text, file=sys.stderr)

    def close(self) -> None:
        """Flushes everything.

        Raises:
          InputError: if what is left cannot be written.
        """
        if not self._first:
            return
        self._bar.close()
        with self._explained():
            self._file.close()
        if self._board:
            self._board.close()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(
                f"{self._path} could not be written: {error}. Make room, or whatever else it "
                "takes; then the same command continues from the newest checkpoint"
            ) from error


class _Object:
    """A text that grows, in object storage, where it is written anew each time, so not too often.

    What a killed process had not written yet is lost.
    """

    def __init__(self, path: AnyPath, text: str):
        self._path, self._text, self._written = path, text, time.monotonic()

    def write(self, text: str) -> None:
        self._text += text
        if time.monotonic() > self._written + _WRITE_SECONDS:
            self.flush()

    def flush(self) -> None:
        write_whole(self._path, self._text)
        self._written = time.monotonic()

    close = flush


class _Board:
    """TensorBoard's events. They repeat `metrics.jsonl`: where they find no room a warning will do.

    They are written in the caller's thread: tensorboardX's own would end with the first error, and
    whoever then adds an event would wait for it for ever.
    """

    def __init__(self, directory: Path, start: int):
        """Goes on in a new file; what older ones have of steps after `start` is not shown."""
        self._writer: EventsWriter | None = None
        self._flushed = float("-inf")
        with self._warned():
            directory.mkdir(parents=True, exist_ok=True)
            self._writer = EventsWriter(str(directory / "events"))
        if start:
            self._add(step=start + 1, session_log=SessionLog(status=SessionLog.START))

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        values = [Summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
        self._add(step=step, summary=Summary(value=values))
        if time.monotonic() > self._flushed + _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        self._flushed = time.monotonic()
        with self._warned():
            if self._writer:
                self._writer.flush()

    def close(self) -> None:
        with self._warned():
            if self._writer:
                self._writer.close()

    def _add(self, **what: Any) -> None:
        with self._warned():
            if self._writer:
                self._writer.write_event(Event(wall_time=time.time(), **what))

    @contextlib.contextmanager
    def _warned(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._writer = None
            _log.warning("TensorBoard gets no more events of this run: %s", error)


def _step(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (json.JSONDecodeError, KeyError):  # Cut off by a kill.
        return float("inf")


def evaluated(workdir: AnyPath, step: int) -> bool:
    """Whether `metrics.jsonl` has an evaluation after a step; all processes ask together."""
    path = workdir / "metrics.jsonl"
    found = False
    if distributed.is_main() and path.exists():
        rows = [json.loads(line) for line in path.read_text().splitlines() if _step(line) == step]
        names = [name for row in rows for name in row]
        found = any(name.startswith(("validation/", "eval/")) for name in names)
    return distributed.any_process(found)
