"""Two real processes as one run: the same numbers, the same data, one end for both."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.compiling import environment
from tests.corpus import group
from tests.test_train import CONFIG, SMALL
from tests.two_processes import ROOT, Pair
from xcot_jax import cli, distributed
from xcot_jax.data.dataset import write_dataset
from xcot_jax.errors import InputError

STEPS, SAVED = 6, 3
MESHES = {"data": (8, 1, 1), "fsdp": (1, 8, 1), "mixed": (2, 2, 2)}
EVALUATED = {"train__eval_every": STEPS, "train__eval_limit": 1}
ONE_DEVICE = (1, 1, 1)
EXACT = {"rel": 1e-5}


def train(workdir, data, mesh, **changes):
    settings = SMALL | {
        "data.dir": data,
        "model.layers": 1,
        "model.compute_dtype": "float32",
        "eval.max_new_tokens": 8,
        "train.steps": STEPS,
        "train.checkpoint_every": SAVED,
        **dict(zip(("mesh.data", "mesh.fsdp", "mesh.tensor"), mesh, strict=True)),
        **{key.replace("__", "."): value for key, value in changes.items()},
    }
    overrides = [f"--config.{key}={value}" for key, value in settings.items()]
    return ["train", f"--config={CONFIG}", f"--workdir={workdir}", "--no-progress", *overrides]


def rows(workdir, key="loss"):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if key in row]


def assert_same(workdir, reference, first=1):
    """The same losses from step `first` on, and the same records in the same order."""
    ours, theirs = rows(workdir), rows(reference)
    assert [row["step"] for row in ours] == [row["step"] for row in theirs]
    assert [row["records_crc"] for row in ours] == [row["records_crc"] for row in theirs]
    for name in ("loss", "ce", "kl", "gradient_norm"):
        expected = pytest.approx([row[name] for row in theirs], **EXACT, abs=1e-7)
        assert [row[name] for row in ours] == expected


def back_to_the_first_checkpoint(workdir, target):
    shutil.copytree(workdir, target)
    shutil.rmtree(target / "checkpoints" / str(STEPS))
    return target


@pytest.fixture(scope="module")
def odd(tokenizer, dataset, tmp_path_factory):
    """Thirteen groups, which neither two hosts nor their streams divide; 6 steps are 7 epochs."""
    directory = tmp_path_factory.mktemp("odd")
    groups = [group(n, preamble=n % 3 == 0) for n in range(33)]
    write_dataset(directory, {"train": groups[:13], "validation": groups[13:]}, 1)
    shutil.copy(tokenizer.path, directory / "tokenizer.model")
    shutil.copytree(dataset / "problems", directory / "problems")
    return directory


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    both = Pair(tmp_path_factory.mktemp("pair"))
    yield both
    both.close()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def trained(odd, runs, pair):
    """The runs of one process with eight devices, and of two with four each, on each mesh."""
    commands = {
        (who, name): train(
            runs / f"{who}_{name}", odd, mesh, **(EVALUATED if name == "mixed" else {})
        )
        for who in ("together", "alone")
        for name, mesh in MESHES.items()
    }
    for name in MESHES:
        pair.start(commands["together", name])
    for name in MESHES:  # Meanwhile.
        cli.run(commands["alone", name])
    for _ in MESHES:
        assert pair.statuses() == [0, 0], pair.output()
    return {who: {name: runs / f"{who}_{name}" for name in MESHES} for who in ("together", "alone")}


@pytest.fixture(scope="module")
def alone(trained):
    return trained["alone"]


@pytest.fixture(scope="module")
def together(trained):
    return trained["together"]


def on_one_device(command):
    """Runs the real command in a process with a single device."""
    subprocess.run(
        [sys.executable, "-m", "xcot_jax.cli", *command], cwd=ROOT, env=environment(), check=True
    )


@pytest.mark.parametrize("name", MESHES)
def test_two_processes_train_as_one_does(alone, together, name):
    assert len(rows(together[name])) == STEPS
    assert_same(together[name], alone[name])


def test_every_mesh_trains_as_one_device_does(alone, odd, runs):
    on_one_device(train(runs / "device", odd, ONE_DEVICE))
    for workdir in alone.values():
        assert_same(workdir, runs / "device")


def test_what_two_processes_saved_one_process_and_one_device_continue(together, odd, runs):
    for name, mesh in (("process", MESHES["fsdp"]), ("one", ONE_DEVICE)):
        workdir = back_to_the_first_checkpoint(together["mixed"], runs / f"continued_{name}")
        command = train(workdir, odd, mesh)
        on_one_device(command) if mesh == ONE_DEVICE else cli.run(command)
        assert_same(workdir, together["mixed"])


def test_what_one_process_saved_two_continue_on_another_mesh(alone, odd, runs, pair):
    workdir = back_to_the_first_checkpoint(alone["mixed"], runs / "continued_together")
    pair.run(train(workdir, odd, MESHES["fsdp"]))
    assert f"from step {SAVED}" in pair.output(0)
    assert_same(workdir, alone["mixed"])


def test_evaluations_find_the_same_and_are_written_once(alone, together, pair):
    (ours,), (theirs,) = (rows(run["mixed"], "validation/ce") for run in (together, alone))
    assert ours == pytest.approx(theirs, **EXACT)
    assert "eval/heldout/low_mean" in ours

    def command(run):
        return ["eval", f"--workdir={run['mixed']}", "--config.eval.limit=2"]

    pair.run(command(together))
    cli.run(command(alone))
    for name in ("results.json", "heldout.jsonl"):
        ours, theirs = ((run["mixed"] / "eval" / name).read_text() for run in (together, alone))
        assert ours == theirs


def wait_for_step(workdir, step, pair):
    path = workdir / "metrics.jsonl"
    while not path.exists() or len(path.read_text().splitlines()) < step:
        assert all(process.poll() is None for process in pair.processes), pair.output()
        time.sleep(0.02)


def test_a_signal_to_one_process_stops_and_saves_both(odd, runs, pair):
    workdir = runs / "stopped"
    command = train(workdir, odd, MESHES["data"], train__steps=2000, train__checkpoint_every=5000)
    pair.start(command)
    wait_for_step(workdir, 3, pair)
    pair.processes[1].send_signal(signal.SIGTERM)
    assert pair.statuses() == [128 + signal.SIGTERM] * 2
    (saved,) = (p.name for p in (workdir / "checkpoints").iterdir())
    assert f"stopped and saved at step {saved}" in pair.output(0)
    assert rows(workdir)[-1]["step"] == int(saved) < 2000


def test_a_killed_process_ends_the_other_with_an_error(odd, runs, pair):
    workdir = runs / "killed"
    pair.start(train(workdir, odd, MESHES["data"], train__steps=2000))
    wait_for_step(workdir, 3, pair)
    pair.processes[1].kill()
    assert pair.processes[0].wait(timeout=120) != 0
    assert "xcot: error: " in pair.output(0)


def test_bad_input_of_one_process_ends_the_other_with_its_message(odd, runs, tmp_path):
    pair = Pair(tmp_path)
    command = train(runs / "bad", odd, MESHES["data"])
    pair.start(command, of_process_1=[*command, "--config.seeed=1"])
    assert [process.wait(timeout=120) for process in pair.processes] == [2, 2]
    assert "seeed is not a setting" in pair.output(1)
    assert re.search("process 1 on .* failed: .*seeed is not a setting", pair.output(0))


NAMED = {
    "XCOT_COORDINATOR": "localhost:1234",
    "XCOT_PROCESS_COUNT": "2",
    "XCOT_PROCESS_ID": "0",
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"XCOT_PROCESS_ID": ""}, "XCOT_PROCESS_ID not set"),
        ({"XCOT_COORDINATOR": "", "XCOT_PROCESS_COUNT": ""}, "XCOT_PROCESS_COUNT not set"),
        ({"XCOT_COORDINATOR": "localhost"}, "not HOST:PORT"),
        ({"XCOT_COORDINATOR": "localhost:http"}, "not HOST:PORT"),
        ({"XCOT_PROCESS_COUNT": "two"}, "whole numbers"),
        ({"XCOT_PROCESS_ID": "2"}, "counts from 0"),
    ],
)
def test_an_environment_that_names_no_run_is_an_error(monkeypatch, changes, message):
    for name, value in (NAMED | changes).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=message):
        distributed.initialize()


def test_a_process_alone_agrees_with_itself():
    assert distributed.gather("a") == ["a"]
    assert distributed.any_process(True) and not distributed.any_process(False)
    assert distributed.broadcast("é") == "é" and distributed.broadcast(b"\xff") == b"\xff"
    distributed.barrier("here")


SLURM = {"SLURM_NTASKS": "4", "SLURM_STEP_NODELIST": "n[1-4]", "SLURM_PROCID": "1"}


@pytest.mark.parametrize(
    ("environment", "how"),
    [
        ({}, ""),
        (NAMED, "xcot"),
        (SLURM | {"SLURM_LOCALID": "0"}, "slurm"),
        (SLURM | {"SLURM_LOCALID": "0", "SLURM_NTASKS": "1"}, ""),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}, ""),  # Not by srun.
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"}, "ompi"),
    ],
)
def test_several_processes_are_found_where_there_are_some(environment, how):
    assert distributed.launched_by(environment) == how
