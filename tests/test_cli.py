"""The command: instant help, mistakes in one line, no JAX before it is needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

import xcot_jax


def xcot(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "xcot_jax.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def test_help_lists_every_command_and_imports_nothing_heavy():
    result = xcot("--help")
    assert result.returncode == 0
    for command in ("prep", "preview", "train", "eval", "generate", "report", "env"):
        assert f"  {command} " in result.stdout
    code = (
        "import sys; sys.argv = ['xcot', '--help']; from xcot_jax.cli import main; main(); "
        "print([m for m in ('jax', 'numpy', 'tensorflow', 'transformers') if m in sys.modules])"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout.rstrip().endswith("[]")


def test_version():
    assert xcot("--version").stdout == f"xcot-jax {xcot_jax.__version__}\n"


def test_help_of_a_command_lists_the_settings():
    result = xcot("train", "--help")
    assert result.returncode == 0
    assert "--workdir" in result.stdout
    assert "optim.learning_rate = 0.0003" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "did you mean train?"),
        (["train", "--workdir=w"], "--config=FILE is missing"),
        (["train", "--config=configs/quickstart_sft.py", "--wrokdir=w", "--workdir=w"], "did you mean --workdir?"),
        (["train", "--config=configs/quickstart_sft.py", "--workdir=w", "--config.optim.learning_rat=1e-5"], "did you mean optim.learning_rate?"),
        (["train", "--config=configs/quickstart_sft.py", "--workdir=w", "--config.data.dir=/nowhere"], "/nowhere"),
        (["eval", "--workdir=/nowhere"], "/nowhere/config.json does not exist"),
        (["preview", "/nowhere"], "/nowhere"),
        (["report", "/nowhere", "--out=r"], "/nowhere"),
    ],
)  # fmt: skip
def test_mistakes_end_in_one_message_and_status_2(arguments, message):
    result = xcot(*arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_env_names_versions_devices_and_what_is_missing():
    result = xcot("env")
    assert result.returncode == 0
    for word in ("jax", "orbax-checkpoint", "devices (cpu", "libtpu"):
        assert word in result.stdout


def test_a_closed_pipe_is_no_error():
    command = f"{sys.executable} -m xcot_jax.cli train --help | head -1"
    result = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False
    )
    assert "Traceback" not in result.stderr
