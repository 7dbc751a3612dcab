"""What `metrics.jsonl` and TensorBoard hold, and what a full disk does to them."""

from __future__ import annotations

import errno
import struct
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from tests.test_train import read
from xcot_jax import metrics
from xcot_jax.errors import InputError


def write(workdir, steps, start=0):
    writer = metrics.MetricsWriter(workdir, start=start, steps=steps[-1], progress=False)
    for step in steps:
        writer.write(step, {"loss": 1.0 / step, "ce/sw": float(step)})
    writer.close()


def events(file):
    """The records of an event file, which are those of a TFRecord file."""
    data = file.read_bytes()
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        yield Event.FromString(data[12 : 12 + length])
        data = data[16 + length :]


def test_tensorboard_holds_what_metrics_hold_and_steps_done_again_take_their_place(
    tmp_path, monkeypatch
):
    write(tmp_path, range(1, 6))
    before = set((tmp_path / "tensorboard").iterdir())
    monkeypatch.setattr(metrics.time, "time", lambda: 2e9)  # The second is in the file's name.
    write(tmp_path, range(4, 8), start=3)
    assert [row["step"] for row in read(tmp_path)] == list(range(1, 8))
    (first,), (second,) = before, set((tmp_path / "tensorboard").iterdir()) - before
    version, *scalars = events(first)
    assert version.file_version == "brain.Event:2"
    shown = [{value.tag: value.simple_value for value in event.summary.value} for event in scalars]
    rows = [{"loss": pytest.approx(1.0 / step), "ce/sw": step} for step in range(1, 6)]
    assert shown == rows and [event.step for event in scalars] == list(range(1, 6))
    version, purge, *scalars = events(second)
    assert purge.step == 4 and purge.session_log.status == SessionLog.START
    assert [event.step for event in scalars] == list(range(4, 8))


def test_events_are_seen_while_a_run_goes_on(tmp_path):
    writer = metrics.MetricsWriter(tmp_path, start=0, steps=9, progress=False)
    writer.write(1, {"loss": 1.0})
    (file,) = (tmp_path / "tensorboard").iterdir()
    assert [event.step for event in events(file)] == [0, 1]
    writer.close()


def test_metrics_that_find_no_room_name_their_file(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    writer = metrics.MetricsWriter(tmp_path, start=0, steps=2, progress=False)
    writer.write(1, {"loss": 1.0})
    writer._file = open("/dev/full", "a", buffering=1)  # noqa: SIM115
    for write in (lambda: writer.write(2, {"loss": 1.0}), writer.close):
        with pytest.raises(InputError, match=r"metrics\.jsonl could not be written: .*No space"):
            write()


@pytest.mark.parametrize("call", ("__init__", "write_event", "flush", "close"))
def test_tensorboard_that_finds_no_room_holds_nothing_up(tmp_path, monkeypatch, caplog, call):
    def no_room(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(metrics.EventsWriter, call, no_room)
    write(tmp_path, range(1, 101))
    assert [row["step"] for row in read(tmp_path)] == list(range(1, 101))
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "TensorBoard" in warning and "No space left" in warning
