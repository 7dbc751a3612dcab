"""What a run survives, and what it tells where it cannot: the rows of docs/reliability.md."""

from __future__ import annotations

import ast
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from tests.compiling import environment
from tests.test_train import arguments, exact, read
from xcot_jax import cli, distributed, integrity, runlock, weights
from xcot_jax.checkpoint import Checkpoints
from xcot_jax.data.loader import HostBatch
from xcot_jax.data.tfrecord import CorruptRecordError
from xcot_jax.errors import InputError
from xcot_jax.generation import Generator
from xcot_jax.settings import Settings
from xcot_jax.train_step import TrainState

ROOT = Path(__file__).parent.parent
SMALL = {"train__steps": 8, "train__checkpoint_every": 2, "model__layers": 1}


def train(workdir, dataset, **changes):
    cli.run([*arguments("train", workdir, dataset, **SMALL | changes), "--no-progress"])


def steps(workdir):
    return sorted(int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit())


def saved(workdir):
    """Every array of the newest checkpoint."""
    path = workdir / "checkpoints" / str(steps(workdir)[-1])
    tree = ocp.PyTreeCheckpointer().restore(path.absolute() / "state")
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def same(one, other):
    """Whether two runs went the same way and came to the same state."""
    pairs = zip(saved(one), saved(other), strict=True)
    return exact(one) == exact(other) and all(np.array_equal(a, b) for a, b in pairs)


@pytest.fixture(scope="module")
def undisturbed(dataset, tmp_path_factory):
    """Eight steps; the checkpoints of the last two saves are there."""
    workdir = tmp_path_factory.mktemp("runs") / "undisturbed"
    train(workdir, dataset)
    assert steps(workdir) == [6, 8]
    return workdir


@pytest.fixture
def run(undisturbed, tmp_path):
    """A copy of the undisturbed run."""
    return Path(shutil.copytree(undisturbed, tmp_path / "run"))


def largest(checkpoint):
    return max((p for p in checkpoint.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def flip(path, position=None):
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if position is None else position] ^= 1
    path.write_bytes(content)


def flipped(checkpoint):
    flip(largest(checkpoint))
    return "is not what was written"


def cut_short(checkpoint):
    path = largest(checkpoint)
    os.truncate(path, path.stat().st_size // 2)
    return r"has \d+ bytes, not \d+"


def without_a_file(checkpoint):
    largest(checkpoint).unlink()
    return "is missing"


def without_an_item(checkpoint):
    shutil.rmtree(checkpoint / "pipeline")
    return "pipeline/.* is missing"


def without_checksums(checkpoint):
    (checkpoint / integrity.FILE).unlink()
    return f"{integrity.FILE} is missing"


def with_torn_checksums(checkpoint):
    os.truncate(checkpoint / integrity.FILE, 40)
    return f"{integrity.FILE} is damaged"


DAMAGES = (
    flipped,
    cut_short,
    without_a_file,
    without_an_item,
    without_checksums,
    with_torn_checksums,
)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_checkpoint_is_passed_over_for_the_one_before(run, damage, caplog):
    reason = damage(run / "checkpoints" / "8")
    with Checkpoints(run, create=False) as checkpoints:
        assert checkpoints.latest_step() == 6
    assert re.search(f"checkpoints/8 is damaged and passed over: .*{reason}", caplog.text)
    with pytest.raises(InputError, match=f"checkpoints/8 is damaged: .*{reason}"):
        checkpoints.restore_params({}, {}, step=8)
    assert steps(run) == [6, 8]  # Reading moves nothing.


def test_training_goes_on_from_before_the_damage_to_the_same_end(run, undisturbed, dataset, capsys):
    flipped(run / "checkpoints" / "8")
    train(run, dataset)
    assert "from step 6" in capsys.readouterr().out
    assert steps(run) == [6, 8]
    assert same(run, undisturbed)
    assert [p.name[:9] for p in (run / "checkpoints").iterdir() if "damaged" in p.name] == [
        "8.damaged"
    ]


def test_without_a_whole_checkpoint_each_reason_is_told_and_nothing_is_trained(run, dataset):
    flipped(run / "checkpoints" / "8")
    without_a_file(run / "checkpoints" / "6")
    before = read(run)
    with pytest.raises(
        InputError, match=r"none .* is whole:\n  8: .* not what .*\n  6: .* missing"
    ):
        train(run, dataset)
    assert steps(run) == [6, 8] and read(run) == before


def test_a_checkpoint_is_written_while_the_run_goes_on(run, dataset, monkeypatch):
    begun, write, place = [], integrity.write_checksums, HostBatch.place
    next_step, in_time = threading.Event(), []

    def slow(directory):
        in_time.append(next_step.wait(60))
        write(directory)

    def placed(self, sharding):
        begun.append(self)
        if len(begun) == 3:  # Steps 9 and 10, which is saved, and 11.
            next_step.set()
        return place(self, sharding)

    monkeypatch.setattr(integrity, "write_checksums", slow)
    monkeypatch.setattr(HostBatch, "place", placed)
    train(run, dataset, train__steps=11, train__checkpoint_every=10)
    assert in_time == [True, True]
    assert steps(run) == [10, 11]


def ask_to_stop(number):
    os.kill(os.getpid(), number)


def test_a_signal_while_joining_other_hosts_stops_before_the_first_step(
    dataset, tmp_path, monkeypatch, capsys
):
    """Which is before anything of the run is imported."""
    monkeypatch.setattr(distributed, "initialize", lambda: ask_to_stop(signal.SIGTERM))
    with pytest.raises(SystemExit) as stopped:
        train(tmp_path / "w", dataset)
    assert stopped.value.code == 128 + signal.SIGTERM
    assert "stopped before the first step" in capsys.readouterr().out
    assert steps(tmp_path / "w") == []


def test_a_signal_while_weights_are_read_stops_before_the_first_step(
    dataset, undisturbed, tmp_path, monkeypatch
):
    read_weights = weights.initial

    def interrupted(*arguments):
        ask_to_stop(signal.SIGINT)
        return read_weights(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(weights, "initial", interrupted)
        with pytest.raises(SystemExit) as stopped:
            train(tmp_path / "w", dataset)
    assert stopped.value.code == 128 + signal.SIGINT
    assert steps(tmp_path / "w") == []
    train(tmp_path / "w", dataset)
    assert same(tmp_path / "w", undisturbed)


def test_a_signal_while_compiling_saves_the_first_step(dataset, undisturbed, tmp_path, monkeypatch):
    place = HostBatch.place

    def interrupted(self, sharding):
        ask_to_stop(signal.SIGTERM)
        return place(self, sharding)

    with monkeypatch.context() as patch:
        patch.setattr(HostBatch, "place", interrupted)
        with pytest.raises(SystemExit) as stopped:
            train(tmp_path / "w", dataset)
    assert stopped.value.code == 128 + signal.SIGTERM
    assert steps(tmp_path / "w") == [1]
    train(tmp_path / "w", dataset)
    assert same(tmp_path / "w", undisturbed)


def test_a_signal_breaks_an_evaluation_off_which_is_made_up_for(dataset, tmp_path, monkeypatch):
    changes = {
        "train__eval_every": 3,
        "train__eval_limit": 1,
        "train__eval_batches": 1,
        "eval__languages": "en,sw,th",
        "eval__batch_size": 8,
        "train__steps": 3,
    }
    train(tmp_path / "calm", dataset, **changes)
    rounds, fill = [], Generator._fill

    def interrupted(self, answers, waiting, asked):
        rounds.append(len(waiting))
        ask_to_stop(signal.SIGTERM)
        return fill(self, answers, waiting, asked)

    one_language_a_batch = {"eval__benchmarks": "heldout", "train__eval_limit": 4}
    with monkeypatch.context() as patch:
        patch.setattr(Generator, "_fill", interrupted)
        with pytest.raises(SystemExit) as stopped:
            train(tmp_path / "w", dataset, **changes | one_language_a_batch)
    assert stopped.value.code == 128 + signal.SIGTERM
    assert rounds == [12]  # Eight rows took some of twelve questions, and no more.
    assert steps(tmp_path / "w") == [2, 3]
    assert "loss" in read(tmp_path / "w")[-1]  # No evaluation is written.
    train(tmp_path / "w", dataset, **changes)
    assert read(tmp_path / "w")[-1] == read(tmp_path / "calm")[-1]
    assert "eval/heldout/high_mean" in read(tmp_path / "w")[-1]


def holder(workdir):
    """A process that holds a working directory until it is killed."""
    code = (
        "import sys, time; from xcot_jax import runlock\n"
        "with runlock.hold(sys.argv[1]): print('held', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, workdir], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    return process


def test_a_second_run_is_refused_and_a_dead_one_is_not_in_the_way(run, dataset):
    process = holder(run)
    try:
        with pytest.raises(
            InputError, match=rf"process {process.pid} on \S+ has been .* since 20.*--workdir"
        ):
            train(run, dataset, train__steps=9)
    finally:
        process.kill()
        process.communicate()
    assert steps(run) == [6, 8]
    train(run, dataset, train__steps=9)
    assert steps(run) == [8, 9]


def test_on_object_storage_a_run_that_stopped_renewing_is_taken_for_dead(tmp_path, monkeypatch):
    with runlock._renewed(tmp_path):
        with pytest.raises(InputError, match=rf"process {os.getpid()} on .*wait 1\d\d seconds"):
            runlock._renewed(tmp_path).__enter__()
        held = json.loads((tmp_path / runlock.FILE).read_text())
    assert not (tmp_path / runlock.FILE).exists()
    killed = held | {"renewed": held["renewed"] - runlock.STALE_AFTER}
    (tmp_path / runlock.FILE).write_text(json.dumps(killed))
    with runlock._renewed(tmp_path):
        assert json.loads((tmp_path / runlock.FILE).read_text())["token"] != held["token"]


def test_a_workdir_that_cannot_be_written_is_told_before_anything_is_read(dataset, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=f"{tmp_path}/file/w: cannot be written.*--workdir"):
        train(tmp_path / "file" / "w", dataset)


def test_a_checkpoint_that_fails_removes_none_of_those_before(tmp_path, monkeypatch):
    """Also where its failure is noticed by looking for it, at any moment of it."""
    weights, zero = {"embedding": jnp.arange(8.0)}, jnp.zeros((), jnp.int32)
    contents = TrainState(zero, weights, weights, zero), {}, Settings()
    for attempt in range(10):
        workdir = tmp_path / str(attempt)
        with Checkpoints(workdir, keep=1) as checkpoints:
            checkpoints.save(1, *contents)
        with monkeypatch.context() as patch, Checkpoints(workdir, keep=1) as checkpoints:
            patch.setattr(integrity, "write_checksums", no_room)
            checkpoints.save(2, *contents)
            with pytest.raises(InputError, match=r"step 2 .*No space.*step 1 is the newest"):
                end = time.monotonic() + 60
                while time.monotonic() < end:
                    checkpoints.check()
        assert steps(workdir) == [1]


def no_room(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_checkpoint_too_large_for_the_disk_stops_and_the_one_before_stays(
    dataset, undisturbed, tmp_path
):
    """Files longer than the limit fail as on a full disk, with the checkpoint half written.

    The limit is that of a process of its own: everything in it that writes meets it.
    """
    train(tmp_path / "w", dataset, train__steps=4)
    limit = 32 * 1024
    assert largest(tmp_path / "w" / "checkpoints" / "4").stat().st_size > limit
    assert all(p.stat().st_size < limit // 2 for p in (tmp_path / "w").iterdir() if p.is_file())
    command = [*arguments("train", tmp_path / "w", dataset, **SMALL), "--no-progress"]
    limited = f'ulimit -f {limit // 1024} && exec "$@"'
    result = subprocess.run(
        ["bash", "-c", limited, "-", sys.executable, "-m", "xcot_jax.cli", *map(str, command)],
        capture_output=True,
        text=True,
        check=False,
        env=environment() | {"PYTHONDONTWRITEBYTECODE": "1", "JAX_ENABLE_COMPILATION_CACHE": "0"},
    )
    assert result.returncode == 2, result.stderr
    told = r"step 6 could not be saved: .*File too large.*; step 4 is the newest saved"
    assert re.search(told, result.stderr), result.stderr
    assert steps(tmp_path / "w") == [2, 4]
    train(tmp_path / "w", dataset)
    assert same(tmp_path / "w", undisturbed)
    assert len(list((tmp_path / "w" / "checkpoints").iterdir())) == 2


def test_a_full_file_system_stops_the_run_and_room_lets_it_go_on(dataset, tmp_path):
    """On a file system of its own with room for two checkpoints and a half."""
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespaces here")
    mounted = tmp_path / "small"
    mounted.mkdir()
    train(tmp_path / "measure", dataset, train__steps=2)
    size = sum(p.stat().st_blocks * 512 for p in (tmp_path / "measure").rglob("*"))
    command = [*arguments("train", mounted / "w", dataset, **SMALL), "--no-progress"]
    run = f"{sys.executable} -m xcot_jax.cli {' '.join(map(str, command))}"
    script = f"""
        mount -t tmpfs -o size={int(2.5 * size)} none {mounted} || exit 99
        {run} && exit 1 || status=$?
        mount -o remount,size={10 * size} {mounted}
        {run} || exit 1
        exit $status"""
    result = subprocess.run(
        ["unshare", "-rm", "bash", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert result.returncode == 2, result.stderr
    told = r"step 6 could not be saved: .*[Nn]o space left.*; step 4 is the newest saved"
    assert re.search(told, result.stderr), result.stderr
    assert re.search(r"resuming .* from step 4\n", result.stdout), result.stdout
    assert "trained xCoT to step 8" in result.stdout


def damaged_copy(dataset, directory, damage):
    """A copy of a dataset with one shard of training records changed."""
    shutil.copytree(dataset, directory)
    (shard,) = directory.glob("xcot-train.tfrecord-*")
    damage(shard)
    return shard


def test_a_record_with_a_wrong_checksum_stops_the_run_where_a_whole_shard_lets_it_go_on(
    dataset, undisturbed, tmp_path
):
    half = lambda shard: flip(shard, shard.stat().st_size // 2)
    shard = damaged_copy(dataset, tmp_path / "data", half)
    with pytest.raises(CorruptRecordError, match=rf"{shard.name}.*record \d+"):
        train(tmp_path / "w", tmp_path / "data", data__prefetch=1)
    shutil.copy(dataset / shard.name, shard)
    train(tmp_path / "w", tmp_path / "data")
    assert same(tmp_path / "w", undisturbed)


def test_a_shard_cut_short_under_a_run_stops_it_and_what_is_done_is_saved(
    dataset, undisturbed, tmp_path, monkeypatch
):
    shard = damaged_copy(dataset, tmp_path / "data", lambda shard: None)
    begun, place = [], HostBatch.place

    def cut(self, sharding):
        begun.append(self)
        if len(begun) == 3:
            os.truncate(shard, 0)
        return place(self, sharding)

    with monkeypatch.context() as patch:
        patch.setattr(HostBatch, "place", cut)
        with pytest.raises(CorruptRecordError, match=f"{shard.name}.*cut short"):
            train(tmp_path / "w", tmp_path / "data", train__steps=100, train__checkpoint_every=100)
    assert steps(tmp_path / "w") == [len(begun)] and len(begun) >= 3
    shutil.copy(dataset / shard.name, shard)
    train(tmp_path / "w", tmp_path / "data", train__steps=len(begun) + 1)


def test_a_shard_deleted_under_a_run_does_not_disturb_it(
    dataset, undisturbed, tmp_path, monkeypatch
):
    shard = damaged_copy(dataset, tmp_path / "data", lambda shard: None)
    place = HostBatch.place

    def delete(self, sharding):
        shard.unlink(missing_ok=True)
        return place(self, sharding)

    monkeypatch.setattr(HostBatch, "place", delete)
    train(tmp_path / "w", tmp_path / "data")
    assert same(tmp_path / "w", undisturbed)
    with pytest.raises(
        InputError, match=f"1 of 1 shards of split 'train' are missing: {shard.name}"
    ):
        train(tmp_path / "w", tmp_path / "data", train__steps=9)


@pytest.fixture
def poisoned(monkeypatch):
    """Makes the loss of some steps of a run (1: its first) no number; returns their records."""
    place, records, count = HostBatch.place, {}, iter(range(1, 1000))
    nan = lambda x: x * jnp.asarray(jnp.nan, x.dtype) if x.dtype == jnp.float32 else x

    def poison(chosen):
        def placed(self, sharding):
            batch, number = place(self, sharding), next(count)
            if number not in chosen:
                return batch
            records[number] = set(self.rows["records"][self.rows["records"] >= 0].tolist())
            return jax.tree.map(nan, batch)

        monkeypatch.setattr(HostBatch, "place", placed)
        return records

    return poison


def test_a_loss_that_is_no_number_names_its_step_and_records_and_keeps_the_checkpoint(
    run, dataset, poisoned
):
    records = poisoned({3})
    with pytest.raises(InputError) as stopped:
        train(run, dataset, train__steps=20)
    message = str(stopped.value)
    assert "step 11: the loss is nan" in message and "the newest checkpoint is step 10" in message
    assert "train.skip_nonfinite" in message
    assert steps(run) == [8, 10]
    assert all(np.isfinite(leaf).all() for leaf in saved(run))
    (entry,) = map(json.loads, (run / "nonfinite.jsonl").read_text().splitlines())
    assert entry["step"] == 11 and len(entry["records"]) == len(records[3])
    assert all(name in message for name in entry["records"][:20])


def test_a_step_that_is_not_finite_can_be_left_out_and_is_counted(run, dataset, poisoned):
    poisoned({2})
    train(run, dataset, train__steps=11, train__skip_nonfinite=True)
    rows = {row["step"]: row for row in read(run)}
    assert [rows[n].get("skipped_steps", 0) for n in (8, 9, 10, 11)] == [0, 0, 1, 1]
    assert "loss" not in rows[10] and "NaN" not in (run / "metrics.jsonl").read_text()
    # The schedule stands still with the weights, and a run that continues counts on.
    assert rows[11]["learning_rate"] == rows[10]["learning_rate"]
    train(run, dataset, train__steps=12, train__skip_nonfinite=True)
    assert read(run)[-1]["skipped_steps"] == 1


def test_a_step_that_is_not_finite_changes_no_weight_and_no_moment(
    run, undisturbed, dataset, poisoned
):
    poisoned(range(100))
    train(run, dataset, train__steps=10, train__skip_nonfinite=True)
    pairs = zip(saved(undisturbed), saved(run), strict=True)
    differ = [(a, b) for a, b in pairs if not np.array_equal(a, b)]
    assert sorted((int(a), int(b)) for a, b in differ) == [(0, 2), (8, 10)]  # Skipped, and steps.


def test_a_run_that_only_leaves_steps_out_ends(run, dataset, poisoned):
    poisoned(range(2, 100))
    changes = {"train__skip_nonfinite": True, "train__nonfinite_limit": 3}
    with pytest.raises(InputError, match="step 12: .*checkpoint is step 10.*3 steps in a row"):
        train(run, dataset, train__steps=20, **changes)


def documented_tests():
    """(file, name) of each test that the fault table names."""
    text = (ROOT / "docs" / "reliability.md").read_text()
    return re.findall(r"`(tests/\S+\.py)::(test_\w+)`", text)


def test_every_row_of_the_fault_table_names_a_test_that_exists():
    text = (ROOT / "docs" / "reliability.md").read_text()
    table = text.partition("## Faults")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    faults = [row for row in rows if not row.startswith("| fault |")]
    without = [row for row in faults if "::test_" not in row]
    assert len(faults) > 15 and not without
    for file, name in documented_tests():
        tree = ast.parse((ROOT / file).read_text())
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, name
