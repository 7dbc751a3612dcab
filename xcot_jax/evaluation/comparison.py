"""Finished runs side by side: read from their directories, grouped into methods, averaged."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xcot_jax.errors import InputError
from xcot_jax.evaluation.scoring import BenchmarkResult, Table, mean, points, wilson
from xcot_jax.languages import HIGH_RESOURCE, ordered


@dataclasses.dataclass(frozen=True)
class Run:
    """A training directory: who it is, how it went, what it scored.

    Attributes:
      path: the directory.
      name: name of its method.
      seed: its seed.
      high_resource: codes of its high-resource languages.
      metrics: metric -> {step: value}; a step logged twice, as after a resume, has its last value.
      results: benchmark -> its result.
      unreadable: lines of `metrics.jsonl` that were not JSON and are left out.
    """

    path: Path
    name: str
    seed: int
    high_resource: tuple[str, ...]
    metrics: Mapping[str, Mapping[int, float]]
    results: Mapping[str, BenchmarkResult]
    unreadable: int


@dataclasses.dataclass(frozen=True)
class Spread:
    """One share over a method's seeds.

    Attributes:
      mean: mean over the seeds.
      low: lower end of the 95% Wilson interval of all seeds' answers together; None for a mean over
        languages, which has no such interval.
      high: its upper end.
      seeds: each seed's own value.
    """

    mean: float
    low: float | None
    high: float | None
    seeds: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class MethodScore:
    """A method on a benchmark: its runs of different seeds, averaged.

    Attributes:
      name: name of the method.
      seeds: seeds of its runs.
      languages: language code -> accuracy.
      high_mean: mean accuracy of the high-resource languages; None if none was asked.
      low_mean: the same for the low-resource languages.
      gap: mean of high_mean - low_mean.
    """

    name: str
    seeds: tuple[int, ...]
    languages: Mapping[str, Spread]
    high_mean: Spread | None
    low_mean: Spread | None
    gap: Spread | None


def read_run(path: Path) -> Run:
    """Reads a training directory.

    Raises:
      InputError: if a file is missing or damaged, naming it and the command that writes it.
    """
    config = _read_json(path / "config.json", f"xcot train --workdir={path}")
    results = _read_json(path / "eval" / "results.json", f"xcot eval --workdir={path}")
    metrics_path = path / "metrics.jsonl"
    if not metrics_path.is_file():
        raise InputError(f"{metrics_path} is not there; write it with: xcot train --workdir={path}")
    metrics: dict[str, dict[int, float]] = {}
    unreadable = 0
    for line in metrics_path.read_text("utf-8", errors="replace").split("\n"):
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
        return Run(
            path=path,
            name=str(config["name"]),
            seed=int(config["seed"]),
            high_resource=tuple(config.get("high_resource", HIGH_RESOURCE)),
            metrics=metrics,
            results={result.benchmark: result for result in scored},
            unreadable=unreadable,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: config.json or eval/results.json is not as expected ({error}); "
            f"evaluate it again with: xcot eval --workdir={path}"
        ) from error


def benchmarks_of(runs: Sequence[Run]) -> tuple[str, ...]:
    """The benchmarks any run has been scored on, in the order they are met."""
    return tuple(dict.fromkeys(benchmark for run in runs for benchmark in run.results))


def by_method(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs of every method, in the order they are met."""
    methods: dict[str, list[Run]] = {}
    for run in runs:
        methods.setdefault(run.name, []).append(run)
    return methods


def methods_on(runs: Sequence[Run], benchmark: str) -> tuple[MethodScore, ...]:
    """Every method that was scored on the benchmark, averaged over its seeds."""
    scores = []
    for name, members in by_method(runs).items():
        scored = [run for run in members if benchmark in run.results]
        results = [run.results[benchmark] for run in scored]
        if not results:
            continue
        codes = ordered(code for result in results for code in result.languages)
        scores.append(
            MethodScore(
                name=name,
                seeds=tuple(run.seed for run in scored),
                languages={code: _language_spread(results, code) for code in codes},
                high_mean=_spread([result.high_mean for result in results]),
                low_mean=_spread([result.low_mean for result in results]),
                gap=_spread([result.gap for result in results]),
            )
        )
    return tuple(scores)


def method_table(methods: Sequence[MethodScore]) -> Table:
    """A row a method (mean over its seeds), then its difference to the first method, in points."""
    codes = ordered(code for method in methods for code in method.languages)

    def values(method: MethodScore) -> list[float | None]:
        spreads = [method.languages.get(code) for code in codes]
        spreads += [method.high_mean, method.low_mean, method.gap]
        return [None if spread is None else spread.mean for spread in spreads]

    first, *others = methods
    rows = [(m.name, str(len(m.seeds)), *map(points, values(m))) for m in methods]
    for other in others:
        pairs = zip(values(other), values(first), strict=True)
        differences = [None if a is None or b is None else a - b for a, b in pairs]
        cells = (points(difference, signed=True) for difference in differences)
        rows.append((f"{other.name} − {first.name}", "", *cells))
    return Table(("method", "seeds", *codes, "high", "low", "gap"), tuple(rows))


def run_table(runs: Sequence[Run], benchmark: str) -> Table:
    """A row a run: seed, step, and accuracy in points."""
    results = [run.results[benchmark] for run in runs if benchmark in run.results]
    codes = ordered(code for result in results for code in result.languages)
    rows = []
    for result in results:
        accuracies = [
            result.languages[code].accuracy if code in result.languages else None for code in codes
        ]
        means = (result.high_mean, result.low_mean, result.gap)
        cells = map(points, (*accuracies, *means))
        rows.append((result.name, str(result.seed), str(result.step), *cells))
    return Table(("run", "seed", "step", *codes, "high", "low", "gap"), tuple(rows))


def notes(runs: Sequence[Run]) -> tuple[str, ...]:
    """What a reader must know before comparing these runs; empty if they are alike."""
    found = [note for benchmark in benchmarks_of(runs) for note in _uneven(runs, benchmark)]
    for name, members in by_method(runs).items():
        seeds = [run.seed for run in members]
        if repeated := sorted({seed for seed in seeds if seeds.count(seed) > 1}):
            listed = ", ".join(map(str, repeated))
            found.append(f"{name}: several runs with seed {listed}, averaged as if independent.")
    if len({run.high_resource for run in runs}) > 1:
        found.append("The runs do not agree on which languages are high-resource.")
    for run in runs:
        if run.unreadable:
            found.append(
                f"{run.path / 'metrics.jsonl'}: {run.unreadable} unreadable lines left out."
            )
    return tuple(found)


def _uneven(runs: Sequence[Run], benchmark: str) -> list[str]:
    """In which ways the runs were scored differently on a benchmark."""
    found = []
    scored = {run_label(run): run.results[benchmark] for run in runs if benchmark in run.results}
    if lacking := [run_label(run) for run in runs if benchmark not in run.results]:
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


def _spread(values: Sequence[float | None]) -> Spread | None:
    """The mean over the seeds that have a value."""
    there = tuple(value for value in values if value is not None)
    average = mean(there)
    return None if average is None else Spread(average, None, None, there)


def _language_spread(results: Sequence[BenchmarkResult], code: str) -> Spread:
    """A language's accuracy over the seeds that were asked in it, with their pooled interval."""
    scores = [result.languages[code] for result in results if code in result.languages]
    asked = sum(score.n for score in scores)
    correct = sum(score.accuracy * score.n for score in scores)
    low, high = wilson(min(correct, asked), asked)
    accuracies = tuple(score.accuracy for score in scores)
    return Spread(sum(accuracies) / len(accuracies), low, high, accuracies)


def _read_json(path: Path, command: str) -> Any:
    """A JSON file that `command` writes."""
    if not path.is_file():
        raise InputError(f"{path} is not there; write it with: {command}")
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); write it again with: {command}") from error
