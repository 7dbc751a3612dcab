"""What a study consists of: its variants and seeds, and the settings of each run.

A study is a config file (`configs/studies/*.py`) whose `VARIANTS` are what is compared, each with
its title, and whose `STUDY` says how: any cell can be run by hand as `--config=FILE.py:VARIANT`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xcot_jax import config as config_files
from xcot_jax.config import ConfigError
from xcot_jax.settings import Settings
from xcot_jax.study.measures import MEASURES


@dataclasses.dataclass(frozen=True)
class Study:
    """The table `STUDY` of a config file.

    Attributes:
      title: what the study asks.
      baseline: the variant that others are measured against.
      method: the variant that the study's figures are of; the best of the others if "".
      seeds: of training, each a run of every variant.
      varies: settings in which variants may differ beside `name`, `prep` and `loss`, by the start
        of their keys: all else is held equal, or the study refuses.
      x: what a figure has along its axis, if it is a curve: variant -> value.
      x_title: of that axis.
      series: the figure's lines: title -> variants that are its points; if empty, one of all.
      factors: what variants are made of -> pairs of variants, with it and without it and alike in
        all else.
      power_law: whether series are fitted by y = a x^b.
      measures: what runs are measured by, rows of `measures.MEASURES`; the study's figures are of
        the first.
      start: the variant that makes the model which all others start from, if any: it is trained
        once, by the first seed, and stands in no table.
    """

    title: str
    baseline: str
    method: str = ""
    seeds: tuple[int, ...] = (0, 1, 2)
    varies: tuple[str, ...] = ()
    x: Mapping[str, float] = dataclasses.field(default_factory=dict)
    x_title: str = ""
    series: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    factors: Mapping[str, Sequence[tuple[str, str]]] = dataclasses.field(default_factory=dict)
    power_law: bool = False
    measures: tuple[str, ...] = ("accuracy",)
    start: str = ""

    @property
    def lines(self) -> Mapping[str, Sequence[str]]:
        """The figure's lines: title -> variants, by what the axis has."""
        lines = self.series or {"": tuple(self.x)}
        return {title: sorted(points, key=self.x.__getitem__) for title, points in lines.items()}


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of a study.

    Attributes:
      variant: key in `VARIANTS`.
      seed: of its training.
      settings: all of them.
      data: name of its dataset; variants with the same `prep` settings share one.
      data_seed: that of its dataset, the config's.
    """

    variant: str
    seed: int
    settings: Settings
    data: str
    data_seed: int

    @property
    def name(self) -> str:
        """Of its directory."""
        return f"{self.variant}-{self.seed}"


@dataclasses.dataclass(frozen=True)
class Plan:
    """A study and its runs.

    Attributes:
      file: the config file.
      study: how variants are compared.
      titles: variant -> title, in the file's order.
      cells: the runs, seed by seed, so that one seed of all variants is known first.
      overrides: `--config.KEY=VALUE` of the command line, for every run.
      start: the run whose model all others start from, if there is one.
    """

    file: Path
    study: Study
    titles: Mapping[str, str]
    cells: tuple[Cell, ...]
    overrides: tuple[str, ...]
    start: Cell | None = None


def read(file: Path, overrides: Sequence[str] = ()) -> Plan:
    """The study of a config file.

    Args:
      file: it.
      overrides: `--config.KEY=VALUE`, applied to every run.

    Raises:
      ConfigError: if the file is no study, or its variants differ in more than it allows.
    """
    if not file.is_file():
        raise ConfigError(f"--config={file}: no such file")
    module = config_files.python_file(file)
    titles, table = getattr(module, "VARIANTS", None), getattr(module, "STUDY", None)
    if not isinstance(titles, Mapping) or not isinstance(table, Mapping):
        raise ConfigError(f"{file}: no study; it has to have the tables VARIANTS and STUDY")
    known = {field.name for field in dataclasses.fields(Study)}
    if strange := set(table) - known:
        raise ConfigError(f"{file}: STUDY has no {', '.join(sorted(strange))}; {sorted(known)}")
    if lacking := {"title", "baseline"} - set(table):
        raise ConfigError(f"{file}: STUDY needs {' and '.join(sorted(lacking))}")
    study = Study(**table)
    if study.baseline == study.start:
        raise ConfigError(f"{file}: {study.start} is the start, which no run is compared with")
    parts = filter(None, [study.method, study.start])
    paired = {variant for pairs in study.factors.values() for pair in pairs for variant in pair}
    points = {variant for line in study.series.values() for variant in line}
    named = {study.baseline, *parts, *study.x, *points, *paired}
    if missing := named - set(titles):
        raise ConfigError(f"{file}: STUDY names {', '.join(sorted(missing))}, not in VARIANTS")
    if unplaced := points - set(study.x):
        raise ConfigError(f"{file}: STUDY has no x of {', '.join(sorted(unplaced))}")
    if not study.seeds:
        raise ConfigError(f"{file}: STUDY has no seeds")
    if not study.measures or set(study.measures) - set(MEASURES):
        raise ConfigError(
            f"{file}: STUDY measures {study.measures}; there are {', '.join(MEASURES)}"
        )
    parsed = config_files.parse_overrides(overrides)

    def cell(variant: str, seed: int) -> Cell:
        prepared = config_files.load(f"{file}:{variant}", parsed)
        settings = config_files.load(f"{file}:{variant}", parsed | {"seed": str(seed)})
        return Cell(variant, seed, settings, _data_name(prepared), prepared.seed)

    compared = {variant: title for variant, title in titles.items() if variant != study.start}
    cells = tuple(cell(variant, seed) for seed in study.seeds for variant in compared)
    start = cell(study.start, study.seeds[0]) if study.start else None
    plan = Plan(file, study, compared, cells, tuple(overrides), start)
    _check_equal(plan)
    return plan


def _data_name(settings: Settings) -> str:
    """Of the dataset these settings prepare; their seed is the file's, not that of a training."""
    students = settings.data.students  # Of a group, at most: it is made for them.
    prep, high = dataclasses.asdict(settings.prep), settings.high_resource
    made_of: Any = (prep, high, students, settings.seed)
    digest = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()
    return f"data-{digest[:10]}"


def _check_equal(plan: Plan) -> None:
    """Refuses a comparison of runs that differ in what the study does not ask about."""
    allowed = ("name", "seed", "prep.", "loss.", "data.dir", *plan.study.varies)
    first = next(cell for cell in plan.cells if cell.variant == plan.study.baseline)
    for cell in plan.cells:
        for key, (ours, theirs) in config_files.differences(first.settings, cell.settings).items():
            if not key.startswith(allowed):
                raise ConfigError(
                    f"{plan.file}: {cell.variant} has {key}={theirs!r}, the baseline {ours!r}; "
                    "make them equal, or name the setting in STUDY's `varies`"
                )
