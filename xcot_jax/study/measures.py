"""What a study measures its runs by, as a table: which command writes it, and how it is read."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np

from xcot_jax.errors import InputError
from xcot_jax.evaluation.alignment import ALIGNMENT_FILE, PAIRS, TO_HIGH_CENTRED, Alignment
from xcot_jax.evaluation.answers import DIRECT, file_stem, read_answers
from xcot_jax.evaluation.likelihood import LIKELIHOOD_FILE, Likelihood
from xcot_jax.settings import Settings

_Record = TypeVar("_Record")
ByLanguage: TypeAlias = Mapping[str, Mapping[str, float]]
"""Language code -> problem -> what was measured on it."""


@dataclasses.dataclass(frozen=True)
class Measure:
    """One row of the table.

    Attributes:
      title: what it is and in which unit, as an axis says it.
      command: the sub-command of `xcot` that measures a run.
      output: what that writes last, in the run's `eval` directory.
      read: reads it, of a run's directory and settings.
      scale: factor from what is read to the unit.
      digits: after the decimal point, in tables.
      unit: of a difference.
      falls: whether less is better.
    """

    title: str
    command: str
    output: str
    read: Callable[[Path, Settings], ByLanguage]
    scale: float
    digits: int
    unit: str
    falls: bool = False

    @property
    def share(self) -> bool:
        """Whether it is a share, told in percent, which lies between 0 and 100."""
        return self.scale == 100

    def text(self, value: float, *, signed: bool = False) -> str:
        """A value, or a difference, in the unit."""
        return f"{self.scale * value:{'+' if signed else ''}.{self.digits}f}"


def _accuracy(directory: Path, settings: Settings, mode: str = DIRECT) -> ByLanguage:
    """Right answers on the first benchmark, asked in one of `eval.modes`."""
    stem = file_stem(settings.eval.benchmarks[0], mode)
    command = f"xcot eval --workdir={directory} --config.eval.modes={mode}"
    found: dict[str, dict[str, float]] = {}
    for answer in read_answers(directory / "eval" / f"{stem}.jsonl", command):
        found.setdefault(answer.language, {})[answer.id] = float(answer.correct)
    return found


def _cross_entropy(directory: Path, settings: Settings) -> ByLanguage:
    found = _read(directory, LIKELIHOOD_FILE, "likelihood", Likelihood.from_json)
    return _by_problem(found, found.cross_entropy)


def _divergence(directory: Path, settings: Settings) -> ByLanguage:
    found = _read(directory, LIKELIHOOD_FILE, "likelihood", Likelihood.from_json)
    return _by_problem(found, found.divergence)


def _by_problem(found: Likelihood, values: Mapping[str, tuple[float, ...]]) -> ByLanguage:
    return {code: dict(zip(found.ids, of, strict=True)) for code, of in values.items()}


def _retrieval(directory: Path, settings: Settings, way: str = PAIRS) -> ByLanguage:
    """In how many languages a problem's nearest neighbour is itself, mean over layers.

    Centred: by states less the mean of their language's.
    """
    found = _read(directory, ALIGNMENT_FILE, "align", Alignment.from_json)
    if way not in found.after.problems:
        raise InputError(
            f"{directory} has no retrieval '{way}'; eval.languages has to have high-resource and "
            f"low-resource ones, and {', '.join(found.high_resource)} are the high-resource ones"
        )
    return {
        code: dict(zip(found.ids, np.mean(layers, axis=0).tolist(), strict=True))
        for code, layers in found.after.problems[way].items()
    }


def _read(directory: Path, name: str, command: str, made_of: Callable[[Any], _Record]) -> _Record:
    path = directory / "eval" / name
    try:
        return made_of(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} cannot be read ({error!r}); write it with: "
            f"xcot {command} --workdir={directory}"
        ) from error


MEASURES: dict[str, Measure] = {
    "accuracy": Measure(
        "accuracy, %", "eval", "results.json", _accuracy, scale=100, digits=1, unit="points"
    ),
    "translated": Measure(
        "accuracy by way of a translation, %",
        "eval",
        "results.json",
        functools.partial(_accuracy, mode="translate"),
        scale=100,
        digits=1,
        unit="points",
    ),
    "cross_entropy": Measure(
        "cross-entropy of the gold answer, nats a token",
        "likelihood",
        LIKELIHOOD_FILE,
        _cross_entropy,
        scale=1,
        digits=3,
        unit="nats",
        falls=True,
    ),
    "divergence": Measure(
        "KL(teacher's reading || language's), nats a token",
        "likelihood",
        LIKELIHOOD_FILE,
        _divergence,
        scale=1,
        digits=3,
        unit="nats",
        falls=True,
    ),
    "retrieval": Measure(
        "retrieval of a problem in another language, %",
        "align",
        ALIGNMENT_FILE,
        _retrieval,
        scale=100,
        digits=1,
        unit="points",
    ),
    "retrieval_high": Measure(
        "retrieval in a high-resource language, centred, %",
        "align",
        ALIGNMENT_FILE,
        functools.partial(_retrieval, way=TO_HIGH_CENTRED),
        scale=100,
        digits=1,
        unit="points",
    ),
}
