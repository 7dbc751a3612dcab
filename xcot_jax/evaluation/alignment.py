"""How near a model holds the same problem in different languages: retrieval, and a plane to see."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

PAIRS, CENTRED = "all pairs", "all pairs, centred"
TO_HIGH, TO_HIGH_CENTRED = "low to high", "low to high, centred"
"""How retrieval is counted: over all pairs of languages or from low-resource to high-resource ones
only, of the states as they are or less their language's mean. That mean holds much of what tells a
language apart, and little of what a sentence means (Libovický et al., arXiv 2004.05160)."""

States = Float[np.ndarray, "G Q D"]
"""One vector for each of Q problems in each of G languages, problems in one order."""

ALIGNMENT_FILE = "alignment.json"
"""In a run's eval directory."""


@dataclasses.dataclass(frozen=True)
class Plane:
    """The two directions in which the last layer's states differ most.

    Attributes:
      points: language code -> (x, y) of each problem.
      variance: share of the variance along x and along y.
    """

    points: Mapping[str, tuple[tuple[float, float], ...]]
    variance: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """The alignment of one set of weights.

    Attributes:
      step: training step of the weights; 0 before the first.
      accuracy: way of counting -> accuracy of retrieval after each of `Alignment.layers`.
      languages: code -> accuracy in the last layer, over the pairs this language asks in, of the
        states as they are.
      problems: way of counting -> code of the language that asks -> for each layer and problem, in
        how many of the languages searched (a share of them) its nearest neighbour is itself.
      plane: of the last layer.
    """

    step: int
    accuracy: Mapping[str, tuple[float, ...]]
    languages: Mapping[str, float]
    problems: Mapping[str, Mapping[str, tuple[tuple[float, ...], ...]]]
    plane: Plane


@dataclasses.dataclass(frozen=True)
class Alignment:
    """What `xcot align` found.

    Attributes:
      benchmark: where the problems are from.
      problems: how many.
      ids: of these problems.
      high_resource: codes of the run's high-resource languages.
      layers: after how many of its layers the model was looked at.
      before: the weights training began with.
      after: the trained weights.
    """

    benchmark: str
    problems: int
    ids: tuple[str, ...]
    high_resource: tuple[str, ...]
    layers: tuple[int, ...]
    before: Snapshot
    after: Snapshot

    def to_json(self) -> dict[str, Any]:
        """The alignment as what `json.dumps` takes."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Alignment:
        """The alignment that `to_json` made this of.

        Raises:
          KeyError, TypeError, ValueError: if it is none.
        """
        return cls(
            benchmark=str(data["benchmark"]),
            problems=int(data["problems"]),
            ids=tuple(data["ids"]),
            high_resource=tuple(data["high_resource"]),
            layers=tuple(data["layers"]),
            before=_snapshot(data["before"]),
            after=_snapshot(data["after"]),
        )


def snapshot(
    step: int, codes: Sequence[str], by_layer: Sequence[States], high_resource: Collection[str]
) -> Snapshot:
    """Measures one set of weights by its states after every layer looked at.

    The ways from low to high are left out where there is no language of either.
    """
    plain = [retrieved(states) for states in by_layer]
    centred = [retrieved(states - states.mean(axis=1, keepdims=True)) for states in by_layer]
    everyone = tuple(range(len(codes)))
    high = tuple(index for index in everyone if codes[index] in high_resource)
    low = tuple(index for index in everyone if index not in high)
    ways = {PAIRS: (plain, everyone, everyone), CENTRED: (centred, everyone, everyone)}
    if high and low:
        ways |= {TO_HIGH: (plain, low, high), TO_HIGH_CENTRED: (centred, low, high)}
    shares = {
        way: {codes[one]: [_share(found, one, searched) for found in hits] for one in asking}
        for way, (hits, asking, searched) in ways.items()
    }
    return Snapshot(
        step=step,
        accuracy={
            way: tuple(np.mean(list(of.values()), axis=(0, 2)).tolist())
            for way, of in shares.items()
        },
        languages={code: float(of[-1].mean()) for code, of in shares[PAIRS].items()},
        problems={
            way: {
                code: tuple(tuple(share.round(4).tolist()) for share in layers)
                for code, layers in of.items()
            }
            for way, of in shares.items()
        },
        plane=plane(codes, by_layer[-1]),
    )


def retrieved(states: States) -> Bool[np.ndarray, "G G Q"]:
    """Whether a problem's nearest neighbour in another language is itself.

    Nearest by cosine, as in cross-lingual sentence retrieval (Tatoeba; Artetxe and Schwenk, 2019);
    chance is 1 / Q.

    Returns:
      by the language that asks, the one that is searched, and the problem.
    """
    norms = np.linalg.norm(states, axis=-1, keepdims=True)
    unit = states / np.maximum(norms, np.finfo(states.dtype).tiny)
    languages, problems, _ = states.shape
    found = np.ones((languages, languages, problems), bool)
    for ask, search in itertools.permutations(range(languages), 2):
        nearest = np.argmax(unit[ask] @ unit[search].T, axis=1)
        found[ask, search] = nearest == np.arange(problems)
    return found


def _share(
    found: Bool[np.ndarray, "G G Q"], one: int, searched: Sequence[int]
) -> Float[np.ndarray, " Q"]:
    """In how many of the languages searched, but the one that asks, each problem is found."""
    return found[one, [other for other in searched if other != one]].mean(axis=0)


def plane(codes: Sequence[str], states: States) -> Plane:
    """The first two principal components of all states together.

    Signs are fixed, the largest loading being positive, so that the same states give the same
    picture.
    """
    flat = states.reshape(-1, states.shape[-1]).astype(np.float64)
    centred = flat - flat.mean(axis=0)
    _, scales, directions = np.linalg.svd(centred, full_matrices=False)
    axes = directions[:2]
    axes = axes * np.sign(axes[np.arange(2), np.abs(axes).argmax(axis=1)])[:, None]
    points = (centred @ axes.T).reshape(*states.shape[:2], 2)
    total = float(np.sum(scales**2)) or 1.0
    return Plane(
        points={
            code: tuple((round(float(x), 5), round(float(y), 5)) for x, y in of)
            for code, of in zip(codes, points, strict=True)
        },
        variance=(float(scales[0] ** 2 / total), float(scales[1] ** 2 / total)),
    )


def _snapshot(data: Mapping[str, Any]) -> Snapshot:
    points = data["plane"]["points"]
    x, y = data["plane"]["variance"]
    return Snapshot(
        step=int(data["step"]),
        accuracy={way: tuple(shares) for way, shares in data["accuracy"].items()},
        languages=dict(data["languages"]),
        problems={
            way: {code: tuple(map(tuple, layers)) for code, layers in dict(of).items()}
            for way, of in data["problems"].items()
        },
        plane=Plane(
            points={code: tuple((p, q) for p, q in of) for code, of in points.items()},
            variance=(x, y),
        ),
    )
