"""Host memory and time of reading a Hugging Face checkpoint, and of writing it again.

    python -m tests.benchmarks.importing --json=FILE [--gigabytes=2.5] [--keep=DIR]

A checkpoint in bfloat16 of the shapes of Llama 3.2 1B is written, then read and written again in a
process of its own for each type of the parameters, on one device and on four. What the process
holds beside the parameters, which lie in its memory too as its devices are the CPU, is its peak
less what it held before, when one program had run, less the bytes of all shards. The written files
have to be the read ones, to the byte.

Figures: `import_memory` and `export_memory`, the most that is held beside the parameters / bytes of
the largest tensor of the files.
"""

from __future__ import annotations

import contextlib
import dataclasses
import filecmp
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from tests.benchmarks import measuring
from xcot_jax import sharding
from xcot_jax.models import families, hf
from xcot_jax.models.config import ModelConfig
from xcot_jax.models.presets import PRESETS
from xcot_jax.models.tensor_writer import write_tensors
from xcot_jax.settings import MeshSettings

PRESET = "llama3_2_1b"
STORED = "bfloat16"
RUNS = [(dtype, devices) for devices in (1, 4) for dtype in ("bfloat16", "float32")]
SHARD_BYTES = 1 << 30


def make(directory: Path, gigabytes: float) -> None:
    """Writes a checkpoint of about this size: the preset with as many layers as it takes."""
    preset = PRESETS[PRESET]
    one, two = (_bytes(dataclasses.replace(preset, layers=layers)) for layers in (1, 2))
    layers = max(round((gigabytes * 1e9 - one) / (two - one)) + 1, 1)
    config = dataclasses.replace(preset, layers=layers)
    layout = hf.layout(config, STORED)
    values = np.random.default_rng(0).standard_normal(2**20, np.float32).astype(ml_dtypes.bfloat16)
    tensors = ((name, np.resize(values, shape)) for name, (shape, _) in layout.items())
    write_tensors(directory, layout, tensors, SHARD_BYTES)
    (directory / "config.json").write_text(json.dumps(families.to_hf(config)))


def _bytes(config: ModelConfig) -> int:
    return sum(math.prod(shape) * d.itemsize for shape, d in hf.layout(config, STORED).values())


def work(directory: str, dtype: str) -> None:
    """Reads and writes in this process, and prints what it took as JSON."""
    config = families.from_hf(hf.read_config(directory))
    mesh = sharding.make_mesh(MeshSettings())
    jax.jit(lambda x: x + 1)(jnp.ones(3)).block_until_ready()
    before = _resident("VmRSS")
    with _measured() as read:
        params = jax.block_until_ready(hf.load(directory, config, mesh, dtype))
    held = sum(
        shard.data.nbytes for leaf in jax.tree.leaves(params) for shard in leaf.addressable_shards
    )
    layout = hf.layout(config, STORED)
    with tempfile.TemporaryDirectory(dir=Path(directory).parent) as out:
        with _measured() as written:
            write_tensors(Path(out), layout, hf.tensors(params, config, STORED), SHARD_BYTES)
        files = sorted(path.name for path in Path(out).iterdir())
        _, different, missing = filecmp.cmpfiles(directory, out, files, shallow=False)
        assert files and not (different or missing), (different, missing)
    largest = max(math.prod(shape) * kind.itemsize for shape, kind in layout.values())
    for found in (read, written):
        found["beside"] = found["peak"] - before - held
        found["ratio"] = found["beside"] / largest
    sizes = {"file_bytes": _bytes(config), "largest": largest, "held": held, "before": before}
    print(json.dumps(sizes | {"read": read, "write": written}))


@contextlib.contextmanager
def _measured() -> Iterator[dict[str, float]]:
    """Seconds of the block, and the most memory the process held in it."""
    Path("/proc/self/clear_refs").write_text("5")  # The highest mark begins anew.
    found: dict[str, float] = {}
    begin = time.perf_counter()
    yield found
    found |= {"seconds": time.perf_counter() - begin, "peak": _resident("VmHWM")}


def _resident(what: str) -> int:
    """Bytes of this process that `/proc` names so: held now, or the most there was."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{what}:")[1].split()[0]) * 1024


def measure(directory: Path, dtype: str, devices: int) -> dict[str, Any]:
    """What `work` prints in a process with so many devices."""
    flags = f"--xla_force_host_platform_device_count={devices}"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from tests.benchmarks import importing; importing.work(*sys.argv[1:])",
            str(directory),
            dtype,
        ],
        env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Runs the benchmark from the command line."""
    parser = measuring.parser(__doc__ or "")
    parser.set_defaults(rounds=1)
    parser.add_argument("--gigabytes", type=float, default=2.5, help="size of the checkpoint")
    parser.add_argument("--keep", type=Path, help="directory for the checkpoint, to keep or use")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        directory = options.keep
        if directory is None:
            temporary = stack.enter_context(tempfile.TemporaryDirectory())
            directory = Path(temporary) / "checkpoint"
        directory = directory.absolute()
        if not (directory / "config.json").exists():
            directory.mkdir(parents=True, exist_ok=True)
            make(directory, options.gigabytes)
        runs = [
            {"dtype": dtype, "devices": devices, **measure(directory, dtype, devices)}
            for _ in range(options.rounds)
            for dtype, devices in RUNS
        ]
    print(
        f"{runs[0]['file_bytes'] / 1e9:.2f} GB of {STORED}, largest tensor "
        f"{runs[0]['largest'] / 1e6:,.0f} MB; files in the page cache\n"
    )
    rows = []
    for run in runs:
        row = [run["dtype"], f"{run['devices']}", f"{run['held'] / 1e6:,.0f}"]
        for what in ("read", "write"):
            found = run[what]
            row += [
                f"{found['seconds']:.1f}",
                f"{run['file_bytes'] / found['seconds'] / 1e6:,.0f}",
                f"{found['beside'] / 1e6:,.0f}",
                f"{found['ratio']:.2f}",
            ]
        rows.append(row)
    header = ["parameters", "devices", "MB of them"]
    for what in ("read", "write"):
        header += [f"{what} s", "MB/s of file", "MB beside", "/ largest tensor"]
    print(measuring.markdown(header, rows))
    print()
    figures = {
        "import_memory": max(run["read"]["ratio"] for run in runs),
        "export_memory": max(run["write"]["ratio"] for run in runs),
    }
    measuring.write(options.json, figures, {"preset": PRESET, "runs": runs})


if __name__ == "__main__":
    main()
