"""How a model reads the gold answers: cross-entropy by language, divergence between languages."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from xcot_jax.evaluation.scoring import Table, mean
from xcot_jax.languages import ordered

LIKELIHOOD_FILE = "likelihood.json"
"""In a run's eval directory."""


@dataclasses.dataclass(frozen=True)
class Likelihood:
    """What `xcot likelihood` found.

    Attributes:
      benchmark: where the problems are from.
      step: training step of the weights.
      teacher: code of the language whose reading the others are compared with.
      high_resource: codes of the run's high-resource languages.
      ids: of the problems.
      tokens: tokens of each problem's gold answer, the end of sequence included.
      cross_entropy: language code -> nats a token of each problem's answer, after its question in
        that language.
      divergence: language code -> KL(teacher || language) of each problem, in nats a token.
    """

    benchmark: str
    step: int
    teacher: str
    high_resource: tuple[str, ...]
    ids: tuple[str, ...]
    tokens: tuple[int, ...]
    cross_entropy: Mapping[str, tuple[float, ...]]
    divergence: Mapping[str, tuple[float, ...]]

    def to_json(self) -> dict[str, Any]:
        """As what `json.dumps` takes."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Likelihood:
        """What `to_json` made this of.

        Raises:
          KeyError, TypeError, ValueError: if it is none.
        """
        return cls(
            benchmark=str(data["benchmark"]),
            step=int(data["step"]),
            teacher=str(data["teacher"]),
            high_resource=tuple(data["high_resource"]),
            ids=tuple(data["ids"]),
            tokens=tuple(map(int, data["tokens"])),
            cross_entropy={code: tuple(map(float, v)) for code, v in data["cross_entropy"].items()},
            divergence={code: tuple(map(float, v)) for code, v in data["divergence"].items()},
        )


def table(found: Likelihood) -> Table:
    """Means over problems, by language and by resource level."""
    codes = ordered(found.cross_entropy)
    low = [code for code in codes if code not in found.high_resource]

    def row(title: str, by_language: Mapping[str, tuple[float, ...]]) -> tuple[str, ...]:
        means = {code: float(np.mean(values)) for code, values in by_language.items()}
        of_low = mean([means[code] for code in low if code in means])
        cells = (f"{means[code]:.3f}" if code in means else "" for code in codes)
        return (title, *cells, "" if of_low is None else f"{of_low:.3f}")

    header = ("nats a token", *codes, "low-resource mean")
    return Table(
        header,
        (
            row("cross-entropy", found.cross_entropy),
            row(f"KL({found.teacher} || language)", found.divergence),
        ),
    )
