"""Whatever moment `xcot prep` is killed at, the next run ends with an undisturbed one's bytes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.data_prep.test_build import contents

ROOT = Path(__file__).parents[2]
KILLS = 5


def prep(out, workers=2):
    """The command as a process of its own, in a process group of its own."""
    story = {"high_count": 1_500, "low_count": 200, "heldout_count": 20}
    return subprocess.Popen(
        [sys.executable, "-m", "xcot_jax.cli", "prep", f"--out={out}"]
        + [f"--config={ROOT / 'configs/quickstart_xcot.py'}"]
        + [f"--config.prep.story.{key}={value}" for key, value in story.items()]
        + ["--config.prep.tokenizer.train=False", f"--config.prep.workers={workers}"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def group_members(leader):
    """Processes of a process group that still run."""
    members = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == leader and fields[0] != "Z":
            members.append(int(entry.name))
    return members


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_killed_at_random_moments(tmp_path):
    begin = time.monotonic()
    undisturbed = prep(tmp_path / "whole" / "data")
    assert undisturbed.wait() == 0
    seconds = time.monotonic() - begin
    expected = contents(tmp_path / "whole" / "data")
    moments = random.Random(0)
    out = tmp_path / "killed" / "data"
    survived = 0
    for _ in range(KILLS):
        process = prep(out)
        # From the first moments of the work on: importing is the same every time.
        time.sleep(moments.uniform(0.2, 0.95) * seconds)
        survived += process.poll() is not None
        process.kill()
        process.wait()
        # What stands under its final name is whole, and workers end with their parent.
        assert not out.exists() or contents(out) == expected
        deadline = time.monotonic() + 20
        while group_members(process.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        left = group_members(process.pid)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert not left
        shutil.rmtree(out, ignore_errors=True)
    assert survived < KILLS
    assert prep(out).wait() == 0
    assert contents(out) == expected
    assert sorted(path.name for path in out.parent.iterdir()) == ["data"]
