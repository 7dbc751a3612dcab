"""The TPU launcher: what it asks gcloud for, what reaches the workers, and what it refuses."""

import json
import subprocess
import time

import pytest

from tests.launch.cloud import Cloud

POD = ("--tpu=pod", "--project=proj", "--zone=us-x1-a", "--type=v5litepod-8")
TRAIN = ("--", "xcot", "train", "--workdir=gs://bucket/run")
PLACE = ["--project=proj", "--zone=us-x1-a"]

# What quoting must bring through three shells and a file unchanged.
HARD = [
    "xcot",
    "--config.a=two words",
    "--config.b='single' \"double\" `date` $(date) $HOME ${x} \\n \\",
    "--config.c=first\nsecond\n",
    "",
    "*",
    "~",
    "; exit 7 #",
    "--config.lang=te:\u0c24\u0c46\u0c32\u0c41\u0c17\u0c41 & !x",
]


@pytest.fixture
def cloud(tmp_path):
    cloud = Cloud(tmp_path)
    yield cloud
    cloud.kill_all()


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)


def seen(home):
    return json.loads((home / "seen.json").read_text())


def status_of(home, name="train"):
    return (home / f"xcot/{name}.status").read_text().strip()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (
            ["--type=v4-128"],
            [
                "tpu-vm",
                "create",
                "pod",
                "--accelerator-type=v4-128",
                "--version=tpu-ubuntu2204-base",
            ],
        ),
        (
            ["--type=v5litepod-64", "--spot", "--create-flags=--network=n --labels=a=b"],
            [
                *("tpu-vm", "create", "pod", "--accelerator-type=v5litepod-64"),
                *("--version=v2-alpha-tpuv5-lite", "--network=n", "--labels=a=b", "--spot"),
            ],
        ),
        (
            ["--type=v6e-64", "--runtime=mine", "--queued"],
            [
                *("queued-resources", "create", "pod", "--accelerator-type=v6e-64"),
                *("--runtime-version=mine", "--node-id=pod"),
            ],
        ),
        (
            ["--type=v5p-128", "--slices=3", "--spot"],
            [
                *("queued-resources", "create", "pod", "--accelerator-type=v5p-128"),
                *("--runtime-version=v2-alpha-tpuv5", "--spot"),
                *("--node-count=3", "--node-prefix=pod"),
            ],
        ),
    ],
)
def test_slices_are_asked_for_in_every_way(cloud, flags, expected):
    cloud.run("tpu_pod.sh", "create", *POD, *flags)
    created = [call for call in cloud.calls() if call[4] == "create"]
    assert created == [["gcloud", "compute", "tpus", *expected, *PLACE]]


def test_an_existing_slice_is_left_alone(cloud):
    cloud.run("tpu_pod.sh", "create", *POD)
    _, err = cloud.run("tpu_pod.sh", "create", *POD, status=2)
    assert "pod is there already (READY)" in err
    assert cloud.verbs() == ["create"]


def test_flags_beat_the_environment(cloud):
    cloud.run("tpu_pod.sh", "create", *POD, XCOT_TPU="other", XCOT_SPOT="1", XCOT_SLICES="1")
    (created,) = [call for call in cloud.calls() if call[4] == "create"]
    assert created[5] == "pod"
    assert "--spot" in created


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create", "--tpu=pod", "--zone=z", "--type=v4-8"], "--project is missing"),
        (["create", "--tpu=pod", "--project=p", "--type=v4-8"], "--zone is missing"),
        (["create", "--project=p", "--zone=z", "--type=v4-8"], "--tpu is missing"),
        (["create", *POD[:3]], "--type is missing"),
        (["create", *POD, "--type=v5e-64"], "v5litepod-64"),
        (["create", *POD, "--type=v9-64"], "--runtime=VERSION"),
        (["create", *POD, "--spots"], "there is no setting --spots"),
        (["create", *POD, "--zone", "z"], "--zone=VALUE"),
        (["create", *POD, "--slices=two"], "--slices=two is not a whole number"),
        (["run", *POD], "what shall run?"),
        (["run", *POD, "--run=a b", *TRAIN], "--run=a b"),
        (["run", *POD, "xcot"], "behind --"),
        (["run", *POD, *TRAIN], "pod is ABSENT"),
        (["logs", *POD, "--slice=1"], "--slice=1"),
        (["delete", *POD], "there is no pod in us-x1-a of proj"),
        (["launch", *POD], "there is no 'launch'"),
        (["babysit", *POD, "--", "xcot", "train", "--workdir=runs/x"], "goes with the slice"),
    ],
)
def test_what_cannot_be_meant_stops_before_anything_is_done(cloud, arguments, message):
    _, err = cloud.run("tpu_pod.sh", *arguments, status=2)
    assert message in err
    assert all(call[4] == "describe" for call in cloud.calls())


def test_a_failing_question_is_no_sign_of_absence(cloud):
    (cloud.directory / "tpu-vm-describe-fails").write_text("PERMISSION_DENIED: no")
    _, err = cloud.run("tpu_pod.sh", "create", *POD, status=1)
    assert "PERMISSION_DENIED" in err
    assert cloud.verbs() == []


def test_help_tells_every_setting(cloud):
    out, _ = cloud.run("tpu_pod.sh", "--help")
    _, err = cloud.run("tpu_pod.sh", "create", "--nonsense", status=2)
    known = err.split("there are ")[1].split()
    assert len(known) > 15
    assert [setting for setting in known if setting not in out] == []


def test_a_command_arrives_as_it_was_given_on_every_worker(cloud):
    cloud.run("tpu_pod.sh", "create", *POD)
    cloud.run("tpu_pod.sh", "run", *POD, "--", *HARD)
    commit = cloud.git("rev-parse", "--short=12", "HEAD").strip()
    assert len(cloud.homes()) == 2
    for home in cloud.homes():
        until((home / "xcot/train.status").exists)
        assert seen(home)["arguments"] == HARD[1:]
        code = str(home / "xcot/code" / commit)
        assert (seen(home)["directory"], seen(home)["path"]) == (code, code)
        assert status_of(home) == "0"
        assert "nothing to train" in (home / "xcot/train.log").read_text()
    out, _ = cloud.run("tpu_pod.sh", "status", *POD)
    assert out.count("finished 0 ") == 2
    out, _ = cloud.run("tpu_pod.sh", "logs", *POD, "--worker=1", "--tail=2")
    assert out.splitlines()[0] == "nothing to train"


def test_a_dry_run_prints_calls_that_a_shell_reads_back_and_makes_none(cloud):
    out, _ = cloud.run("tpu_pod.sh", "run", *POD, "--dry-run", "--", *HARD)
    assert cloud.calls() == []
    # What it prints is what a run does: it is run, after a slice is made.
    cloud.run("tpu_pod.sh", "create", *POD)
    subprocess.run(
        ["bash", "-e"], input=out, text=True, env=cloud.environment, cwd=cloud.clone, check=True
    )
    for home in cloud.homes():
        until((home / "xcot/train.status").exists)
        assert seen(home)["arguments"] == HARD[1:]


@pytest.mark.parametrize("subcommand", ["create", "setup", "status", "logs", "stop", "babysit"])
def test_dry_runs_do_nothing(cloud, subcommand):
    command = TRAIN if subcommand == "babysit" else ()
    for slices in ("1", "2"):
        flags = (*POD, f"--slices={slices}", "--dry-run", "--yes")
        out, err = cloud.run("tpu_pod.sh", subcommand, *flags, *command)
        assert (cloud.calls(), err) == ([], "")
        calls = out.splitlines()
        assert {call.split()[0] for call in calls} <= {"gcloud", "git"}
        assert all(" ".join(PLACE) in call for call in calls if call.startswith("gcloud "))
        verb = {"create": " create ", "setup": "worker.sh\\ setup", "babysit": "worker.sh\\ start"}
        assert any(
            verb.get(subcommand, f"worker.sh\\ {subcommand}") in c or "signal" in c for c in calls
        )


def test_setup_installs_once_for_one_setup_py(cloud):
    cloud.run("tpu_pod.sh", "create", *POD)
    cloud.run("tpu_pod.sh", "setup", *POD)
    cloud.run("tpu_pod.sh", "setup", *POD, "--python=3.12")
    (home, _) = cloud.homes()
    venv, install = (home / "uv.calls").read_text().splitlines()
    assert venv.startswith("venv --quiet --python 3.12 ")
    assert install.endswith("[tpu]")
    (cloud.clone / "setup.py").write_text("setup(install_requires=['more'])\n")
    cloud.commit()
    cloud.run("tpu_pod.sh", "setup", *POD)
    assert len((home / "uv.calls").read_text().splitlines()) == 4


def test_what_is_not_committed_is_left_out_or_taken_along_but_never_by_accident(cloud):
    cloud.run("tpu_pod.sh", "create", *POD)
    (cloud.clone / ".gitignore").write_text("secret\n")
    commit = cloud.commit()
    (cloud.clone / "secret").write_text("not to be copied")
    (cloud.clone / "setup.py").write_text("setup(changed=True)\n")
    (cloud.clone / "new file.py").write_text("new\n")
    _, err = cloud.run("tpu_pod.sh", "run", *POD, *TRAIN, status=2)
    assert "uncommitted changes" in err
    assert "new file.py" in err
    assert cloud.verbs() == ["create"]

    before = cloud.git("status", "--porcelain")
    cloud.run("tpu_pod.sh", "setup", *POD, "--allow-dirty")
    assert cloud.git("status", "--porcelain") == before
    (copy,) = (cloud.homes()[0] / "xcot/code").iterdir()
    assert copy.name.startswith(f"{commit}-")
    assert (copy / "setup.py").read_text() == "setup(changed=True)\n"
    assert (copy / "new file.py").exists()
    assert not (copy / "secret").exists()


def test_a_run_is_followed_stopped_and_not_started_twice(cloud):
    cloud.run("tpu_pod.sh", "create", *POD)
    out, _ = cloud.run("tpu_pod.sh", "status", *POD)
    assert out.count("none - ") == 2
    cloud.run("tpu_pod.sh", "run", *POD, *TRAIN)
    out, _ = cloud.run("tpu_pod.sh", "status", *POD)
    assert out.splitlines()[0] == "pod: READY"
    assert out.count("running - ") == 2
    _, err = cloud.run("tpu_pod.sh", "run", *POD, *TRAIN, status=2)
    assert "a run train is under way" in err
    cloud.run("tpu_pod.sh", "run", *POD, "--run=other", *TRAIN)

    out, _ = cloud.run("tpu_pod.sh", "stop", *POD)
    assert out.count("stopped 143 ") == 2
    assert out.count("stopped and saved at step") == 2
    for home in cloud.homes():
        until((home / "xcot/other.pid").exists)
    out, _ = cloud.run("tpu_pod.sh", "status", *POD, "--run=other")
    assert out.count("running - ") == 2
    cloud.run("tpu_pod.sh", "stop", *POD, "--run=other")

    cloud.run("tpu_pod.sh", "run", *POD, *TRAIN)
    until(lambda: "running - " in cloud.run("tpu_pod.sh", "status", *POD)[0])
    (cloud.directory / "enough").touch()
    for home in cloud.homes():
        until((home / "xcot/train.status").exists)
        log = (home / "xcot/train.log").read_text()
        assert log.count("resuming from step 0") == 1
        assert log.count("resuming from step") == 2
        assert "exit status 143" in log


def test_a_repeated_call_does_not_start_twice(cloud):
    cloud.run("tpu_pod.sh", "create", *POD)
    cloud.run("tpu_pod.sh", "run", *POD, *TRAIN)
    start = next(c for c in cloud.calls() if any("worker.sh start" in a for a in c))
    # As gcloud tries a lost connection anew: while it runs, and after it has ended.
    for stopped in (False, True):
        subprocess.run(start, env=cloud.environment, check=True, capture_output=True)
        if not stopped:
            cloud.run("tpu_pod.sh", "stop", *POD)
    for home in cloud.homes():
        assert (home / "xcot/train.log").read_text().count("resuming from") == 1


def test_a_run_that_does_not_end_is_killed_only_if_told_to(cloud):
    cloud.run("tpu_pod.sh", "create", *POD)
    deaf = "trap '' TERM; while :; do sleep 1; done"
    cloud.run("tpu_pod.sh", "run", *POD, "--", "bash", "-c", deaf)
    _, err = cloud.run("tpu_pod.sh", "stop", *POD, "--wait=3", status=2)
    assert "still running after 3 s" in err
    assert "--kill" in err
    out, _ = cloud.run("tpu_pod.sh", "stop", *POD, "--wait=3", "--kill")
    assert out.count("failed 137 ") == 2


def test_workdirs_of_several_workers_are_shared(cloud):
    cloud.run("tpu_pod.sh", "create", *POD)
    for form in (["--workdir=runs/x"], ["--workdir", "runs/x"]):
        _, err = cloud.run("tpu_pod.sh", "run", *POD, "--", "xcot", "train", *form, status=2)
        assert "each of the 2 workers" in err
        assert "gs://BUCKET/PATH" in err
    cloud.run(
        "tpu_pod.sh", "run", *POD, "--local-workdir", "--", "xcot", "train", "--workdir=/mnt/x"
    )


def test_one_worker_may_have_a_workdir_of_its_own(cloud):
    cloud.environment["WORKERS"] = "1"
    cloud.run("tpu_pod.sh", "create", *POD)
    cloud.run("tpu_pod.sh", "run", *POD, "--", "xcot", "train", "--workdir=runs/x")


def test_slices_of_one_run_are_started_and_stopped_together(cloud):
    flags = (*POD, "--slices=2")
    cloud.run("tpu_pod.sh", "create", *flags)
    cloud.run("tpu_pod.sh", "run", *flags, *TRAIN)
    homes = [home for node in ("pod-0", "pod-1") for home in cloud.homes(node)]
    assert len(homes) == 4
    out, _ = cloud.run("tpu_pod.sh", "stop", *flags)
    assert out.count("stopped 143 ") == 4
    verbs = cloud.verbs()
    assert verbs.index("wait") > max(i for i, verb in enumerate(verbs) if verb == "signal")
    out, _ = cloud.run("tpu_pod.sh", "logs", *flags, "--slice=1", "--worker=1")
    assert "stopped and saved" in out


def test_deleting_wants_a_yes_and_takes_what_belongs_together(cloud):
    cloud.run("tpu_pod.sh", "create", *POD, "--slices=2")
    _, err = cloud.run("tpu_pod.sh", "delete", *POD, status=2)
    assert "--yes" in err
    cloud.run("tpu_pod.sh", "delete", *POD, "--yes")  # Finds by itself that it was queued.
    assert list((cloud.directory / "tpu-vm").iterdir()) == []
    cloud.run("tpu_pod.sh", "create", *POD)
    cloud.run("tpu_pod.sh", "delete", *POD, "--yes")
    deleted = [call[3:] for call in cloud.calls() if call[4] == "delete"]
    assert deleted == [
        ["queued-resources", "delete", "pod", "--force", "--quiet", *PLACE],
        ["tpu-vm", "delete", "pod", "--quiet", *PLACE],
    ]
