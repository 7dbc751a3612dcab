"""The GPU benchmark's command, tried small, and that its sides do the same work."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from tests import checkpoints
from tests.benchmarks import gpu, gpu_cases
from tests.compiling import environment
from xcot_jax import sharding
from xcot_jax.data import loader
from xcot_jax.losses import Objective
from xcot_jax.models import families, hf, transformer
from xcot_jax.settings import MeshSettings
from xcot_jax.train_step import loss_terms

TINY = {name: case.small() for name, case in gpu_cases.CASES.items()}


@pytest.fixture(scope="module")
def rows():
    return gpu_cases.random_rows(TINY["1b"], vocabulary=checkpoints.VOCABULARY)


def run(*arguments):
    """The command as a user runs it, its programs kept with those of other tests."""
    return subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.gpu", *arguments],
        cwd=Path(__file__).parents[1],
        env=environment(),
        capture_output=True,
        text=True,
    )


def test_without_a_gpu_the_command_says_what_it_needs():
    refused = run()
    assert refused.returncode
    assert "needs an NVIDIA GPU" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_whole_command_runs_small_anywhere(tmp_path):
    pytest.importorskip("torch")
    path = tmp_path / "gpu.json"
    options = ("--tiny", "--models=7b", "--kernels", "blocks", "transformers", "--rounds=1")
    done = run(*options, f"--json={path}")
    assert done.returncode == 0, done.stderr
    record = json.loads(path.read_text())
    assert set(record["figures"]) == {"mfu_7b", "kl_overhead_7b", "vs_transformers_7b"}
    for result in record["details"]["cases"].values():
        assert all(np.isfinite(loss) for loss in result["loss"].values())
        assert all(len(seconds) == 1 for seconds in result["seconds"].values())


def test_rows_are_packed_groups_of_a_teacher_and_a_student(rows):
    assert (rows["segment_ids"] > 0).mean() > 0.6
    assert rows["segment_ids"].max() >= 4
    used = rows["ce_weight"] > 0
    np.testing.assert_array_equal(used[..., 0], used[..., 1])
    np.testing.assert_array_equal(rows["targets"][..., 0], rows["targets"][..., 1])
    row, slot = np.nonzero(used[..., 0])
    at = rows["slot_positions"][row, slot]
    # Every answer token is predicted in two different views.
    segments = rows["segment_ids"][row[:, None], at]
    assert (segments[:, 0] + 1 == segments[:, 1]).all()
    assert (segments > 0).all()


@pytest.mark.parametrize("beta", gpu_cases.BETAS.values())
def test_transformers_computes_the_same_loss(rows, beta, tmp_path):
    torch = pytest.importorskip("torch")
    from tests.benchmarks import gpu_transformers

    theirs = checkpoints.make("llama3", tmp_path)
    theirs.set_attn_implementation("sdpa")
    batch = gpu_transformers.Batch(rows, torch.device("cpu"))
    their_loss = gpu_transformers.objective(theirs, batch, beta).item()

    mesh = sharding.make_mesh(MeshSettings(), jax.devices()[:1])
    config = families.from_hf(hf.read_config(tmp_path), compute_dtype="bfloat16")
    placed = loader.place(rows, sharding.batch_sharding(mesh))
    params = hf.load(tmp_path, config, mesh)
    terms = loss_terms(transformer.graph(config), params, placed, Objective(beta=beta), mesh)
    assert float(terms.loss) == pytest.approx(their_loss, rel=3e-3)


def test_adapters_are_what_is_trained():
    torch = pytest.importorskip("torch")
    from tests.benchmarks import gpu_transformers
    from xcot_jax.models import counting

    case = TINY["7b"]
    model = gpu_transformers.make(case, torch.device("cpu"))
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained == counting.trained_count(case.config("plain"))


def test_a_failed_process_leaves_the_others_their_results():
    done = {
        "median_s": {"CE": 1.0, "CE + KL": 2.0},
        "seconds": {"CE": [1.0], "CE + KL": [2.0]},
        "flops": 10,
    }
    results = {"1b-plain": {"failed": "out of memory"}, "1b-blocks": done}
    assert gpu.figures(results, peak=20.0) == {"mfu_1b": 0.25, "kl_overhead_1b": 2.0}
