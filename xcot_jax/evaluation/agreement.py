"""How far a model gives one problem the same answer in every language."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable

from xcot_jax.evaluation.answers import Answer


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Consistency across languages, right or wrong.

    These are the cross-lingual consistency of SeaEval (Wang et al., arXiv 2309.04766) for sets of
    two languages and for the set of all of them, with the extracted number in place of the choice;
    no number agrees with nothing, another missing one included.

    Attributes:
      pairwise: mean over problems of the share of pairs of languages with the same number.
      unanimous: share of problems with the same number in all their languages.
      problems: how many problems were asked in two languages or more.
    """

    pairwise: float
    unanimous: float
    problems: int


def agreement(answers: Iterable[Answer]) -> Agreement | None:
    """The agreement of one model's answers; None if no problem was asked in two languages."""
    by_problem: dict[str, list[str | None]] = {}
    for answer in answers:
        by_problem.setdefault(answer.id, []).append(answer.extracted)
    asked = [numbers for numbers in by_problem.values() if len(numbers) > 1]
    if not asked:
        return None
    shares = [_agreeing_pairs(numbers) for numbers in asked]
    return Agreement(
        pairwise=sum(shares) / len(shares),
        unanimous=sum(share == 1 for share in shares) / len(shares),
        problems=len(shares),
    )


def _agreeing_pairs(numbers: list[str | None]) -> float:
    """The share of pairs that are the same number."""
    pairs = len(numbers) * (len(numbers) - 1) // 2
    counts = Counter(number for number in numbers if number is not None)
    return sum(count * (count - 1) // 2 for count in counts.values()) / pairs
