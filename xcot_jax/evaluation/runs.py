"""Finished runs: read from their directories, and what to know before comparing them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xcot_jax.errors import InputError
from xcot_jax.evaluation.alignment import ALIGNMENT_FILE, Alignment
from xcot_jax.evaluation.answers import DIRECT, Answer, file_stem, read_answers
from xcot_jax.evaluation.scoring import BenchmarkResult
from xcot_jax.languages import HIGH_RESOURCE, ordered

Key = tuple[str, str]
"""A benchmark and the mode it was asked in."""


@dataclasses.dataclass(frozen=True)
class Run:
    """A training directory: who it is, how it went, what it scored.

    Attributes:
      path: the directory.
      name: name of its method.
      seed: its seed.
      high_resource: codes of its high-resource languages.
      metrics: metric -> {step: value}; a step logged twice, as after a resume, has its last value.
      results: benchmark and mode -> the result.
      answers: benchmark and mode -> every answer, where its file is there.
      alignment: what `xcot align` found, if it was run.
      unreadable: lines of `metrics.jsonl` that were not JSON and are left out.
    """

    path: Path
    name: str
    seed: int
    high_resource: tuple[str, ...]
    metrics: Mapping[str, Mapping[int, float]]
    results: Mapping[Key, BenchmarkResult]
    answers: Mapping[Key, tuple[Answer, ...]]
    alignment: Alignment | None
    unreadable: int


def read_run(path: Path) -> Run:
    """Reads a training directory.

    Raises:
      InputError: if a file is missing or damaged, naming it and the command that writes it.
    """
    config = _read_json(path / "config.json", f"xcot train --workdir={path}")
    results = _read_json(path / "eval" / "results.json", f"xcot eval --workdir={path}")
    metrics_path = path / "metrics.jsonl"
    logged = ""  # As of a model that was scored and not trained here.
    if metrics_path.is_file():
        logged = metrics_path.read_text("utf-8", errors="replace")
    elif (path / "checkpoints").exists():
        raise InputError(f"{metrics_path} is not there; write it with: xcot train --workdir={path}")
    metrics: dict[str, dict[int, float]] = {}
    unreadable = 0
    for line in logged.split("\n"):
        try:
            row = json.loads(line) if line.strip() else {}
            step = int(row.get("step", 0))
        except (ValueError, AttributeError, TypeError):
            unreadable += 1
            continue
        for key, value in row.items():
            if isinstance(value, int | float):
                metrics.setdefault(key, {})[step] = float(value)
    try:
        scored = [BenchmarkResult.from_json(entry) for entry in results["results"]]
        run = Run(
            path=path,
            name=str(config["name"]),
            seed=int(config["seed"]),
            high_resource=tuple(config.get("high_resource", HIGH_RESOURCE)),
            metrics=metrics,
            results={(result.benchmark, result.mode): result for result in scored},
            answers={},
            alignment=_alignment(path),
            unreadable=unreadable,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: config.json or eval/results.json is not as expected ({error}); "
            f"evaluate it again with: xcot eval --workdir={path}"
        ) from error
    return dataclasses.replace(run, answers=_answers(run))


def benchmarks_of(runs: Sequence[Run]) -> tuple[str, ...]:
    """The benchmarks any run has been scored on, in the order they are met."""
    return tuple(dict.fromkeys(benchmark for run in runs for benchmark, _ in run.results))


def modes_of(runs: Sequence[Run], benchmark: str) -> tuple[str, ...]:
    """The modes any run has been asked this benchmark in, the direct one first."""
    met = dict.fromkeys(mode for run in runs for of, mode in run.results if of == benchmark)
    return tuple(sorted(met, key=lambda mode: mode != DIRECT))


def by_method(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs of every method, in the order they are met."""
    methods: dict[str, list[Run]] = {}
    for run in runs:
        methods.setdefault(run.name, []).append(run)
    return methods


def notes(runs: Sequence[Run]) -> tuple[str, ...]:
    """What a reader must know before comparing these runs; empty if they are alike."""
    keys = [(b, mode) for b in benchmarks_of(runs) for mode in modes_of(runs, b)]
    found = [note for key in keys for note in _uneven(runs, key)]
    for name, members in by_method(runs).items():
        seeds = [run.seed for run in members]
        if repeated := sorted({seed for seed in seeds if seeds.count(seed) > 1}):
            listed = ", ".join(map(str, repeated))
            found.append(f"{name}: several runs with seed {listed}, averaged as if independent.")
    if len({run.high_resource for run in runs}) > 1:
        found.append("The runs do not agree on which languages are high-resource.")
    for run in runs:
        if lacking := [title(key) for key in run.results if key not in run.answers]:
            found.append(
                f"{run.path / 'eval'}: no generations of {', '.join(lacking)}: "
                "compared without pairing, and without samples."
            )
        if run.unreadable:
            found.append(
                f"{run.path / 'metrics.jsonl'}: {run.unreadable} unreadable lines left out."
            )
    return tuple(found)


def title(key: Key) -> str:
    """What a benchmark in a mode is called in a line of text."""
    benchmark, mode = key
    return benchmark if mode == DIRECT else f"{benchmark} ({mode})"


def _uneven(runs: Sequence[Run], key: Key) -> list[str]:
    """In which ways the runs were scored differently on a benchmark in one mode."""
    found = []
    benchmark = title(key)
    scored = {run_label(run): run.results[key] for run in runs if key in run.results}
    if lacking := [run_label(run) for run in runs if key not in run.results]:
        found.append(f"{benchmark}: not scored for {', '.join(lacking)}.")
    steps = {label: result.step for label, result in scored.items()}
    if len(set(steps.values())) > 1:
        found.append(f"{benchmark}: weights of different training steps ({_listed(steps)}).")
    differing: dict[str, list[str]] = {}
    for code in ordered(code for result in scored.values() for code in result.languages):
        counts = {
            label: result.languages[code].n if code in result.languages else 0
            for label, result in scored.items()
        }
        if len(set(counts.values())) > 1:
            differing.setdefault(_listed(counts), []).append(code)
    for listed, codes in differing.items():
        found.append(
            f"{benchmark}, {', '.join(codes)}: different numbers of questions ({listed}); "
            "these accuracies and their means are not like for like."
        )
    return found


def run_label(run: Run) -> str:
    """How a run is called where its method alone would not tell it from others."""
    return f"{run.name} seed {run.seed}"


def _listed(counts: Mapping[str, int]) -> str:
    """Which runs have which count, the most common one last ("100 for a; 250 for the rest")."""
    having: dict[int, list[str]] = {}
    for label, count in counts.items():
        having.setdefault(count, []).append(label)
    *few, most = sorted(having, key=lambda count: len(having[count]))
    named = [f"{count} for {', '.join(having[count])}" for count in few]
    rest = "the rest" if len(having[most]) > 1 else having[most][0]
    return "; ".join([*named, f"{most} for {rest}"])


def _answers(run: Run) -> dict[Key, tuple[Answer, ...]]:
    """The generations that lie beside the results."""
    command = f"xcot eval --workdir={run.path}"
    paths = {key: run.path / "eval" / f"{file_stem(*key)}.jsonl" for key in run.results}
    return {key: read_answers(path, command) for key, path in paths.items() if path.is_file()}


def _alignment(path: Path) -> Alignment | None:
    """What `xcot align` left, if it was run."""
    file, command = path / "eval" / ALIGNMENT_FILE, f"xcot align --workdir={path}"
    if not file.is_file():
        return None
    data = _read_json(file, command)
    try:
        return Alignment.from_json(data)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{file}: not an alignment ({error!r}); write it again: {command}"
        ) from error


def _read_json(path: Path, command: str) -> Any:
    """A JSON file that `command` writes."""
    if not path.is_file():
        raise InputError(f"{path} is not there; write it with: {command}")
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); write it again with: {command}") from error
