"""The GPU launcher: one host, several hosts through ssh, and Slurm jobs."""

import json
import subprocess

import pytest

from tests.launch.cloud import ROOT, Cloud
from tests.launch.test_tpu_pod import HARD, seen, status_of, until

TRAIN = ("--", "xcot", "train", "--workdir=gs://bucket/run")


@pytest.fixture
def cloud(tmp_path):
    cloud = Cloud(tmp_path)
    programs = cloud.clone / ".venv/bin"
    programs.mkdir(parents=True)
    (programs / "xcot").symlink_to(tmp_path / "xcot")
    yield cloud
    cloud.kill_all()


def home(cloud, host):
    return cloud.directory / "hosts" / host


def test_this_host_runs_the_command_itself_and_passes_its_end_on(cloud):
    out, _ = cloud.run("gpu.sh", "run", "--", *HARD, PYTHONPATH="x")
    assert out == "nothing to train\n"
    found = json.loads((cloud.directory.parent / "seen.json").read_text())
    assert found["arguments"] == HARD[1:]
    assert found["xcot"] == {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.92"}  # Alone: nothing to overlap.
    cloud.run("gpu.sh", "run", "--", "bash", "-c", "exit 7", status=7)


def test_one_of_several_processes_is_told_of_the_others(cloud):
    place = ("--coordinator=h:1234", "--process-count=2", "--process-id=1")
    mine = {"XLA_FLAGS": "--mine=1", "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.5", "PYTHONPATH": "x"}
    cloud.run("gpu.sh", "run", *place, "--", "xcot", "train", **mine)
    found = json.loads((cloud.directory.parent / "seen.json").read_text())["xcot"]
    assert found["XCOT_COORDINATOR"] == "h:1234"
    assert (found["XCOT_PROCESS_COUNT"], found["XCOT_PROCESS_ID"]) == ("2", "1")
    assert found["XLA_PYTHON_CLIENT_MEM_FRACTION"] == "0.5"
    assert found["XLA_FLAGS"].endswith(" --mine=1")  # The last of two flags counts.
    _, err = cloud.run("gpu.sh", "run", place[0], "--", "xcot", status=2)
    assert "go together" in err


def test_hosts_are_started_followed_and_stopped_through_ssh(cloud):
    hosts = ("--hosts=alpha,me@beta",)
    cloud.run("gpu.sh", "run", *hosts, "--run=hard", "--", *HARD)
    for number, host in enumerate(("alpha", "me@beta")):
        until((home(cloud, host) / "xcot/hard.status").exists)
        assert status_of(home(cloud, host), "hard") == "0"
        found = seen(home(cloud, host))
        assert found["arguments"] == HARD[1:]
        assert found["directory"] == str(cloud.clone)
        assert found["xcot"]["XCOT_COORDINATOR"] == "alpha:8476"
        assert found["xcot"]["XCOT_PROCESS_COUNT"] == "2"
        assert found["xcot"]["XCOT_PROCESS_ID"] == str(number)

    cloud.run("gpu.sh", "run", *hosts, *TRAIN)
    for host in ("alpha", "me@beta"):
        log = home(cloud, host) / "xcot/train.log"
        until(lambda log=log: log.exists() and "resuming" in log.read_text())
    out, _ = cloud.run("gpu.sh", "status", *hosts)
    assert out.count("running - ") == 2
    _, err = cloud.run("gpu.sh", "run", *hosts, *TRAIN, status=2)
    assert "a run train is under way" in err
    out, _ = cloud.run("gpu.sh", "stop", *hosts)
    assert out.count("stopped 143 ") == 2
    out, _ = cloud.run("gpu.sh", "logs", *hosts, "--host=me@beta")
    assert "stopped and saved at step" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "what shall run?"),
        (["stop"], "--hosts=a,b is missing"),
        (["run", "--hosts=a,-oProxyCommand=x", *TRAIN], "no name of a host"),
        (["run", "--hosts=a,b", "--", "xcot", "train", "--workdir=x"], "--local-workdir"),
        (["run", "--slurm", "--nodes=x", *TRAIN], "--nodes=x"),
        (["run", "--slurm", "--time=soon", *TRAIN], "--time=soon"),
        (["run", "--slurm", "--run=a\nb", *TRAIN], "--run=a"),
        (["run", "--gpu=8", *TRAIN], "there is no setting --gpu"),
    ],
)
def test_what_cannot_be_meant_stops_before_anything_is_done(cloud, arguments, message):
    _, err = cloud.run("gpu.sh", *arguments, status=2)
    assert message in err
    assert cloud.calls() == []


def test_dry_runs_print_and_do_nothing(cloud):
    forms = (["--hosts=a,b"], ["--slurm"], [], ["--hosts=a", "--local-workdir"])
    for form in forms:
        out, err = cloud.run("gpu.sh", "run", *form, "--dry-run", *TRAIN)
        assert "xcot" in out
        assert "--workdir=gs://bucket/run" in out
        assert (cloud.calls(), err) == ([], "")


def test_a_slurm_job_runs_the_command_on_every_node(cloud):
    flags = ("--nodes=3", "--gpus=4", "--time=1-00:00:00", "--sbatch-flags=--account=a --mem=0")
    cloud.run("gpu.sh", "run", "--slurm", *flags, "--", *HARD)
    assert cloud.calls() == [["sbatch", "--account=a", "--mem=0"]]
    job = (cloud.directory / "job.sh").read_text()
    told = {line.removeprefix("#SBATCH ") for line in job.splitlines() if line[:7] == "#SBATCH"}
    wanted = {"--nodes=3", "--ntasks-per-node=1", "--gpus-per-node=4", "--cpus-per-task=32"}
    assert wanted | {"--time=1-00:00:00", "--requeue", "--signal=TERM@180"} <= told

    srun = cloud.directory.parent / "bin/srun"
    srun.write_text('#!/bin/bash\nwhile [[ "$1" == --* ]]; do shift; done\nexec "$@"\n')
    srun.chmod(0o755)
    job_environment = cloud.environment | {"SLURM_CPUS_PER_TASK": "32", "PYTHONPATH": "x"}
    subprocess.run(["bash"], input=job, text=True, env=job_environment, check=True)
    found = json.loads((cloud.directory.parent / "seen.json").read_text())
    assert found["arguments"] == HARD[1:]
    assert found["directory"] == str(cloud.clone)


def test_help_tells_every_setting(cloud):
    out, _ = cloud.run("gpu.sh", "--help")
    _, err = cloud.run("gpu.sh", "run", "--nonsense", status=2)
    known = err.split("there are ")[1].split()
    missing = [setting for setting in known if setting not in out]
    assert (len(known) > 15, missing) == (True, [])


def test_launchers_are_part_of_the_repository():
    for name in ("tpu_pod.sh", "gpu.sh", "quickstart.sh", "test.sh"):
        assert (ROOT / "launch" / name).stat().st_mode & 0o100, name
