"""A study's record, `study.json`: every run made for it, so that no study need run it again."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xcot_jax import config as config_files
from xcot_jax.errors import InputError
from xcot_jax.settings import Settings
from xcot_jax.study.analysis import ByMeasure, Score, best, contrasts, figures
from xcot_jax.study.measures import MEASURES
from xcot_jax.study.plan import Cell, Plan
from xcot_jax.study.power_law import laws

_ELSEWHERE = ("name", "data.dir")
"""Settings that do not make a run another one."""


@dataclasses.dataclass(frozen=True)
class Known:
    """A run that an earlier record holds.

    Attributes:
      file: the record.
      scores: key of `MEASURES` -> the run's.
    """

    file: Path
    scores: Mapping[str, Score]


def record(plan: Plan, found: ByMeasure, known: Mapping[str, Known]) -> dict[str, Any]:
    """Everything: figures, variants, and each run with its settings that are not the default."""
    main = next(iter(found))
    chosen = best(plan, found[main], MEASURES[main])
    return {
        "figures": figures(plan, found[main], MEASURES[main]),
        "figures_of": chosen.variant if chosen else None,
        "study": dataclasses.asdict(plan.study),
        "config": str(plan.file),
        "overrides": list(plan.overrides),
        "measures": {
            name: [
                {
                    "variant": entry.variant,
                    "title": plan.titles[entry.variant],
                    "low": entry.spread("low"),
                    "high": entry.spread("high"),
                    "change": dataclasses.asdict(entry.change) if entry.change else None,
                }
                for entry in entries
            ]
            for name, entries in found.items()
        },
        "contrasts": {
            name: [dataclasses.asdict(contrast) for contrast in contrasts(plan, entries)]
            for name, entries in found.items()
        },
        "power_laws": {
            name: {series: dataclasses.asdict(law) for series, law in laws(plan, entries).items()}
            for name, entries in found.items()
        },
        "start": _start(plan),
        "runs": _runs(plan, found, known),
    }


def _runs(plan: Plan, found: ByMeasure, known: Mapping[str, Known]) -> list[dict[str, Any]]:
    scores = {
        (name, score.variant, score.seed): score
        for name, entries in found.items()
        for entry in entries
        for score in entry.scores
    }
    runs = []
    for cell in plan.cells:
        of = {name: scores[name, cell.variant, cell.seed] for name in found}
        runs.append(
            {
                "variant": cell.variant,
                "seed": cell.seed,
                "data_seed": cell.data_seed,
                "known_from": str(known[cell.name].file) if cell.name in known else None,
                "tokens": next(iter(of.values())).tokens,
                "measured": {
                    name: {
                        "languages": dict(score.languages),
                        "high": score.high,
                        "low": score.low,
                        "problems": {key: round(v, 6) for key, v in score.problems.items()},
                    }
                    for name, score in of.items()
                },
                "settings": _changed(cell.settings),
            }
        )
    return runs


def text(content: Mapping[str, Any]) -> str:
    """A record as JSON, each run on a line of its own."""
    plain = _plain(content)
    runs = [json.dumps(run, ensure_ascii=False) for run in plain.pop("runs")]
    head = json.dumps(plain, ensure_ascii=False, indent=2).removesuffix("\n}")
    return head + ',\n  "runs": [\n    ' + ",\n    ".join(runs) + "\n  ]\n}\n"


def known(plan: Plan, files: Sequence[Path]) -> dict[str, Known]:
    """The runs of a study that earlier records hold, whatever these call them.

    Args:
      plan: the study.
      files: the records; the first one that holds a run is taken.

    Returns:
      name of a cell -> its run.

    Raises:
      InputError: if a record cannot be read, or holds no run of the study.
    """
    found: dict[str, Known] = {}
    for file in files:
        runs = _read(file, plan)
        held = {cell: runs[_key(cell)] for cell in plan.cells if _key(cell) in runs}
        if not held:
            raise InputError(
                f"--known={file}: none of its runs has the settings, the start and the measures "
                f"({', '.join(plan.study.measures)}) of a run of {plan.file}"
            )
        for cell, scores in held.items():
            named = {
                name: dataclasses.replace(score, variant=cell.variant)
                for name, score in scores.items()
            }
            found.setdefault(cell.name, Known(file, named))
    return found


def _read(file: Path, plan: Plan) -> dict[str, dict[str, Score]]:
    """The record's runs by their settings: those from the plan's start, by its measures."""
    try:
        content = json.loads(file.read_text("utf-8"))
        if content["start"] != _json(_start(plan)):
            return {}
        return {
            _joined(run["settings"], run["data_seed"]): _scores(run)
            for run in content["runs"]
            if set(plan.study.measures) <= set(run["measured"])
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"--known={file} is no record of this version's xcot study ({error!r}); name a "
            "study.json"
        ) from error


def _scores(run: Mapping[str, Any]) -> dict[str, Score]:
    def number(value: float | None) -> float:
        return math.nan if value is None else value

    return {
        name: Score(
            variant=run["variant"],
            seed=run["seed"],
            languages={code: number(value) for code, value in of["languages"].items()},
            high=number(of["high"]),
            low=number(of["low"]),
            tokens=run["tokens"],
            problems=of["problems"],
        )
        for name, of in run["measured"].items()
    }


def _start(plan: Plan) -> dict[str, Any] | None:
    """The settings of the model that all runs start from."""
    return _changed(plan.start.settings) if plan.start else None


def _changed(settings: Settings) -> dict[str, Any]:
    differ = config_files.differences(Settings(), settings)
    return {key: value for key, (_, value) in differ.items()}


def _key(cell: Cell) -> str:
    return _joined(_changed(cell.settings), cell.data_seed)


def _joined(changed: Mapping[str, Any], data_seed: int) -> str:
    """What makes a run this run and no other, as one text."""
    kept = {key: value for key, value in changed.items() if key not in _ELSEWHERE}
    return json.dumps(_json([kept, data_seed]), sort_keys=True)


def _json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _plain(value: Any) -> Any:
    """The value as JSON has it: no number that is none."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value
