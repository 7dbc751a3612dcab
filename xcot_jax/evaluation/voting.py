"""Majority votes over answers, and what a vote gains over a single answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import Any

from xcot_jax.evaluation.scoring import MEAN_LABELS, Table, averages, mean_names, points


def majority(votes: Sequence[Decimal | None]) -> Decimal | None:
    """The number most votes are for; of equally many, the one that was said first.

    Votes without a number are not counted.

    Returns:
      The number; None if no vote has one.
    """
    counted = Counter(vote for vote in votes if vote is not None)
    return counted.most_common(1)[0][0] if counted else None  # Ties in order of appearance.


def vote_table(lines: Sequence[Mapping[str, Any]], high_resource: Collection[str]) -> Table | None:
    """Accuracy of the votes taken one by one, of their majority, and of the best they allow.

    Args:
      lines: of a generations file.
      high_resource: codes of the high-resource languages.

    Returns:
      by language: `single`, the mean accuracy of one vote; `voted`; `any`, the share of questions
      for which at least one vote is right. None if nothing was voted on.
    """
    if not lines or any(line["votes"] is None for line in lines):
        return None
    kinds: dict[str, dict[str, list[float]]] = {"single": {}, "voted": {}, "any": {}}
    for line in lines:
        right = [
            vote is not None and Decimal(vote) == Decimal(line["gold"]) for vote in line["votes"]
        ]
        shares = {"single": sum(right) / len(right), "voted": line["correct"], "any": any(right)}
        for kind, share in shares.items():
            kinds[kind].setdefault(line["language"], []).append(share)
    accuracies = {
        kind: {code: sum(shares) / len(shares) for code, shares in by_language.items()}
        for kind, by_language in kinds.items()
    }
    means = {kind: averages(by_language, high_resource) for kind, by_language in accuracies.items()}
    names = mean_names(list(means.values()))
    return Table(
        ("answers", *accuracies["single"], *(MEAN_LABELS[name] for name in names)),
        tuple(
            (
                kind,
                *map(points, by_language.values()),
                *(points(getattr(means[kind], name)) for name in names),
            )
            for kind, by_language in accuracies.items()
        ),
    )
