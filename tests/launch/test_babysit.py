"""The TPU launcher's babysit: a run survives preemption, crashes and lost hosts, and ends once."""

import os
import shutil
import signal

import pytest

from tests.launch.cloud import Cloud
from tests.launch.test_tpu_pod import POD, TRAIN, until

SPOT = (*POD, "--spot", "--interval=1")


@pytest.fixture
def cloud(tmp_path):
    cloud = Cloud(tmp_path)
    yield cloud
    cloud.kill_all()


@pytest.fixture
def babysit(cloud):
    """Starts a babysitter; at the end it, and what it started, is ended."""
    started = []

    def start(*arguments):
        started.append(cloud.start("tpu_pod.sh", "babysit", *arguments))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def preempt(cloud, node="pod", state="PREEMPTED"):
    (cloud.directory / "tpu-vm" / node / "state").write_text(state)
    cloud.kill_all()


def steps(cloud, node="pod"):
    saved = sorted((cloud.directory / "buckets/bucket/run" / node).glob("worker-*"))
    return [int(path.read_text() or 0) for path in saved] if len(saved) == 2 else [0, 0]


def ended(process):
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_a_preempted_slice_is_made_anew_and_the_run_resumes(cloud, babysit):
    process = babysit(*SPOT, *TRAIN)
    for state in ("PREEMPTED", "TERMINATED"):
        before = max(steps(cloud))
        until(lambda before=before: min(steps(cloud)) > before)
        assert process.poll() is None
        preempt(cloud, state=state)
        kept = min(steps(cloud))
        assert kept > 0
    until(lambda: min(steps(cloud)) > kept)
    (cloud.directory / "enough").touch()
    status, _, err = ended(process)
    assert (status, err.count("is gone"), err.count("creating")) == (0, 2, 3)
    assert "train has finished" in err
    for home in cloud.homes():
        log = (home / "xcot/train.log").read_text()
        assert "resuming from step 0\n" not in log  # This one is the third slice.
        assert "resuming from step" in log
    created = [call for call in cloud.calls() if call[4] == "create"]
    assert len(created) == 3
    assert created[0] == created[1] == created[2]
    assert list((cloud.directory / "tpu-vm").iterdir()) != []  # What it ends with is the user's.


def test_one_lost_slice_of_several_renews_all(cloud, babysit):
    process = babysit(*SPOT, "--slices=2", *TRAIN)
    until(lambda: min(steps(cloud, "pod-0") + steps(cloud, "pod-1")) > 0)
    preempt(cloud, "pod-1")
    until(lambda: cloud.verbs().count("create") == 2)
    (cloud.directory / "enough").touch()
    assert ended(process)[0] == 0
    assert [call[3] for call in cloud.calls() if call[4] == "delete"] == ["queued-resources"]


def test_the_code_of_the_start_goes_on_running(cloud, babysit):
    commit = cloud.git("rev-parse", "--short=12", "HEAD").strip()
    process = babysit(*SPOT, *TRAIN)
    until(lambda: min(steps(cloud)) > 0)
    (cloud.clone / "setup.py").write_text("setup(broken=True)\n")
    cloud.commit()
    preempt(cloud)
    until(lambda: cloud.verbs().count("start") == 2)
    until(lambda: cloud.homes() and (cloud.homes()[0] / "xcot/current").exists())
    assert [path.name for path in (cloud.homes()[0] / "xcot/code").iterdir()] == [commit]
    assert process.poll() is None


def test_a_run_stopped_on_request_stays_stopped(cloud, babysit):
    process = babysit(*SPOT, *TRAIN)
    until(lambda: min(steps(cloud)) > 0)
    cloud.run("tpu_pod.sh", "stop", *POD)
    status, _, err = ended(process)
    assert status == 0
    assert "stopped on request" in err
    assert cloud.verbs().count("start") == 1


def test_a_signal_from_elsewhere_is_no_request(cloud, babysit):
    babysit(*SPOT, *TRAIN)
    until(lambda: min(steps(cloud)) > 0)
    for home in cloud.homes():
        os.kill(int((home / "xcot/train.pid").read_text()), signal.SIGTERM)
    until(lambda: cloud.verbs().count("start") == 2)
    until(lambda: all("resuming from" in (h / "xcot/train.log").read_text() for h in cloud.homes()))
    assert cloud.verbs().count("create") == 1


def test_a_restarted_host_has_all_start_again(cloud, babysit):
    babysit(*SPOT, *TRAIN)
    until(lambda: min(steps(cloud)) > 0)
    first, second = cloud.homes()
    cloud.kill(first)
    until(lambda: cloud.verbs().count("start") == 2)
    until(lambda: (second / "xcot/train.log").read_text().count("resuming from") == 2)
    assert "stopped and saved" in (second / "xcot/train.log").read_text()
    assert cloud.verbs().count("create") == 1


def test_a_run_that_fails_by_itself_is_given_up_after_some_restarts(cloud, babysit):
    (cloud.directory / "crash").touch()
    status, _, err = ended(babysit(*SPOT, "--retries=2", *TRAIN))
    assert status == 2
    assert "failed 1, after 2 restarts" in err
    assert cloud.verbs().count("start") == 3
    assert cloud.verbs().count("delete") == 0


def test_a_run_under_way_is_looked_after_not_started_again(cloud, babysit):
    cloud.run("tpu_pod.sh", "create", *POD)
    cloud.run("tpu_pod.sh", "run", *POD, *TRAIN)
    process = babysit(*SPOT, *TRAIN)
    until(lambda: cloud.verbs().count("status") > 2)  # The second look of the babysitter.
    (cloud.directory / "enough").touch()
    assert ended(process)[0] == 0
    assert cloud.verbs().count("start") == 1


def test_lack_of_capacity_is_waited_for_and_a_wrong_request_is_not(cloud, babysit):
    refusal = cloud.directory / "tpu-vm-create-fails"
    refusal.write_text("code 8: There is no more capacity in the zone")
    process = babysit(*SPOT, *TRAIN)
    until(lambda: min(steps(cloud)) > 0)
    assert cloud.verbs().count("create") == 2
    refusal.write_text("always PERMISSION_DENIED: tpu.nodes.create")
    preempt(cloud)
    status, _, err = ended(process)
    assert status == 2
    assert "no more capacity" in err
    assert "PERMISSION_DENIED" in err


def test_an_unanswered_question_changes_nothing(cloud, babysit):
    process = babysit(*SPOT, *TRAIN)
    until(lambda: min(steps(cloud)) > 0)
    failing = cloud.directory / "tpu-vm-describe-fails"
    failing.write_text("always UNAVAILABLE: try again")
    asked = len(cloud.calls())
    until(lambda: len(cloud.calls()) > asked + 3)
    assert process.poll() is None
    failing.unlink()
    (cloud.directory / "enough").touch()
    assert ended(process)[0] == 0
    assert cloud.verbs().count("create") == 1
    assert cloud.verbs().count("delete") == 0


def test_without_any_answer_it_does_not_begin(cloud, babysit):
    (cloud.directory / "tpu-vm-describe-fails").write_text("always UNAUTHENTICATED: log in")
    status, _, err = ended(babysit(*SPOT, *TRAIN))
    assert status == 2
    assert "UNAUTHENTICATED" in err
    assert cloud.verbs() == []


def test_a_suspended_queued_resource_is_replaced(cloud, babysit):
    process = babysit(*SPOT, "--queued", *TRAIN)
    until(lambda: min(steps(cloud)) > 0)
    (cloud.directory / "queued-resources/pod/state").write_text("SUSPENDING")
    cloud.kill_all()
    shutil.rmtree(cloud.directory / "tpu-vm/pod")
    asked = len(cloud.calls())
    until(lambda: len(cloud.calls()) > asked + 2)
    assert cloud.verbs().count("delete") == 0  # It waits until that is over.
    (cloud.directory / "queued-resources/pod/state").write_text("SUSPENDED")
    until(lambda: cloud.verbs().count("create") == 2)
    (cloud.directory / "enough").touch()
    assert ended(process)[0] == 0
