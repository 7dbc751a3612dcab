"""Training steps of real size on one NVIDIA GPU: each attention kernel, and transformers.

    python -m tests.benchmarks.gpu --json=FILE [--models 1b 7b] [--kernels plain blocks cudnn]

Trains Llama 3.2 1B in all its weights ("1b"), and Llama 2 7B by adapters of rank 16 ("7b"), both
random and in bf16, on packed rows: with cross-entropy only and with the divergence added,
interleaved. Every pair of a model and a kernel runs in a process of its own, so that memory is
its own, and is written to the file when done; `--models` and `--kernels` choose among them. The
kernel "transformers" is that library's model on the same rows (`gpu_transformers.py`). `--tiny`
tries all of it on any machine, with small models.

MFU is the model's FLOPs (recomputation not counted) / what the card's bf16 products, measured
first, would do in the time.

Figures: `mfu_MODEL` and `kl_overhead_MODEL` of the fastest kernel, and `vs_transformers_MODEL`,
transformers' time / ours with CE + KL.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks import measuring

MODELS = ("1b", "7b")
KERNELS = ("plain", "blocks", "cudnn", "transformers")
PORTABLE = ("plain", "blocks", "transformers")
"""Those that run without a GPU."""

_ROOT = Path(__file__).parents[2]
_BOTH = "CE + KL"


def run_one(name: str, directory: Path, rounds: int, *, tiny: bool) -> None:
    """The work of one process: writes `NAME.json`, or the rows of all models."""
    import jax

    from tests.benchmarks import gpu_cases
    from xcot_jax import devices

    if name == "machine":
        if not tiny and jax.default_backend() != "gpu":
            raise SystemExit(
                f"this benchmark needs an NVIDIA GPU, and JAX finds {jax.devices()[0].device_kind} "
                "only; on a machine with one: pip install 'xcot-jax[cuda]'. To try the command "
                "without one, add --tiny"
            )
        device = jax.devices()[0].device_kind
        size, seconds = (256, 0.1) if tiny else (8_192, 2.0)
        peak = devices.measured_flops(size, seconds, "bfloat16")
        found: Any = {"device": device, "peak_flops": peak}
    else:
        model, kernel = name.split("-")
        case = gpu_cases.CASES[model].small() if tiny else gpu_cases.CASES[model]
        rows = dict(np.load(directory / f"{model}.npz"))
        if kernel == "transformers":
            found = _theirs(case, rows, rounds)
        else:
            found = gpu_cases.ours(case, kernel, rows, rounds)
        found |= gpu_cases.work(case, rows)
    (directory / f"{name}.json").write_text(json.dumps(found))


def _theirs(case: Any, rows: Any, rounds: int) -> dict[str, Any]:
    try:
        from tests.benchmarks import gpu_transformers
    except ModuleNotFoundError as error:
        return {"missing": str(error)}
    return gpu_transformers.theirs(case, rows, rounds)


def write_rows(
    models: list[str], problems: Path | None, directory: Path, *, tiny: bool
) -> dict[str, float]:
    """Writes each model's batch; returns the shares of them that are not padding."""
    from tests.benchmarks import gpu_cases

    fills = {}
    for model in models:
        case = gpu_cases.CASES[model].small() if tiny else gpu_cases.CASES[model]
        vocabulary = case.config("plain").vocab_size
        rows = (
            gpu_cases.problem_rows(case, problems)
            if problems
            else gpu_cases.random_rows(case, vocabulary)
        )
        np.savez(directory / f"{model}.npz", **rows)
        fills[model] = float((rows["segment_ids"] > 0).mean())
    return fills


def in_process(name: str, directory: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The result of one process, or under `failed` how it ended."""
    command = [sys.executable, "-m", "tests.benchmarks.gpu", f"--one={name}"]
    command += [f"--directory={directory}", f"--rounds={options.rounds}"]
    command += ["--tiny"] if options.tiny else []
    # Torch is measured on the same card: neither may keep what the other needs.
    environment = {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.92"} | os.environ
    try:
        done = subprocess.run(
            command,
            cwd=_ROOT,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            timeout=options.limit,
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"took more than --limit={options.limit} seconds"}
    if done.returncode:
        return {"failed": done.stderr.strip().rpartition("\n")[2] or f"exit {done.returncode}"}
    result: dict[str, Any] = json.loads((directory / f"{name}.json").read_text())
    return result


def line(name: str, found: Mapping[str, Any], peak: float) -> tuple[str, ...]:
    """A row of the table."""
    for reason in ("missing", "failed"):
        if reason in found:
            return (name, f"{reason}: {found[reason][:60]}", *[""] * 5)
    ce, both = (found["median_s"][objective] for objective in ("CE", _BOTH))
    return (
        name,
        f"{ce * 1e3:.0f}",
        f"{both * 1e3:.0f}",
        f"{found['tokens'] / both:,.0f}",
        f"{found['flops'] / both / peak:.2f}",
        f"{found['peak_bytes'] / 2**30:.1f}",
        f"{found['loss'][_BOTH]:.4f}",
    )


def figures(results: Mapping[str, Mapping[str, Any]], peak: float) -> dict[str, float]:
    """The headline figures of what was measured."""
    made: dict[str, float] = {}
    for model in MODELS:
        found = {
            name.partition("-")[2]: result
            for name, result in results.items()
            if name.startswith(f"{model}-") and "median_s" in result
        }
        theirs = found.pop("transformers", None)
        if not found:
            continue
        best = min(found.values(), key=lambda result: result["median_s"][_BOTH])
        seconds = best["seconds"]
        made[f"mfu_{model}"] = best["flops"] / best["median_s"][_BOTH] / peak
        made[f"kl_overhead_{model}"] = measuring.ratio(seconds[_BOTH], seconds["CE"])
        if theirs:
            made[f"vs_transformers_{model}"] = theirs["median_s"][_BOTH] / best["median_s"][_BOTH]
    return made


def main(arguments: list[str] | None = None) -> None:
    """Runs the benchmark from the command line."""
    parser = measuring.parser(__doc__ or "")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--problems", type=Path, help="parallel JSON Lines file; else random rows")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--kernels", nargs="+", choices=KERNELS, default=None)
    parser.add_argument("--limit", type=float, default=300, help="seconds that a process may take")
    parser.add_argument("--tiny", action="store_true", help="small models, on any machine")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        run_one(options.one, options.directory, options.rounds, tiny=options.tiny)
        return

    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        machine = in_process("machine", directory, options)
        if "failed" in machine:
            raise SystemExit(machine["failed"])
        on_gpu = "nvidia" in machine["device"].lower()
        kernels = options.kernels or (KERNELS if on_gpu else PORTABLE)
        fills = write_rows(options.models, options.problems, directory, tiny=options.tiny)
        peak = machine["peak_flops"]
        print(f"{machine['device']}: {peak / 1e12:.1f} TFLOP/s measured in bf16")
        results: dict[str, dict[str, Any]] = {}
        for model in options.models:
            for kernel in kernels:
                key = f"{model}-{kernel}"
                results[key] = in_process(key, directory, options)
                print("  ".join(line(key, results[key], peak)), flush=True)
                _write(options.json, {}, machine, fills, results)
    header = ("", "CE ms", "CE + KL ms", "tokens/s", "MFU", "peak GiB", "loss")
    print(measuring.table(header, [line(key, found, peak) for key, found in results.items()]))
    made = figures(results, peak)
    for name, value in made.items():
        print(f"{name} = {value:.4g}")
    _write(options.json, made, machine, fills, results)


def _write(
    path: Path | None,
    made: Mapping[str, float],
    machine: Mapping[str, Any],
    fills: Mapping[str, float],
    results: Mapping[str, Any],
) -> None:
    """The file so far; this process keeps off the card, so `measuring.write` cannot do it."""
    if path:
        details = {"fill": fills, "cases": results}
        record = {"figures": made, "details": details, "machine": machine}
        path.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
