"""Packages that are kept out of an import stay out of it, and are there afterwards."""

import subprocess
import sys

import pytest

from xcot_jax.importing import without


def test_a_package_seems_not_installed_for_a_while(monkeypatch):
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    with without("wave"), pytest.raises(ImportError):
        import wave
    import wave  # noqa: F401


def test_one_that_is_there_already_stays():
    with without("json"):
        import json
    assert json is sys.modules["json"]


def test_metrics_leave_torch_alone():
    pytest.importorskip("torch")
    code = "import sys, xcot_jax.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
