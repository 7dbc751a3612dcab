"""The arithmetic of the story templates: what each computes, whatever the language."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Mapping

OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.floordiv,
}
# Numbers a problem may hold or reach: no number needs a singular noun.
SMALLEST, LARGEST = 2, 20


@dataclasses.dataclass(frozen=True)
class Step:
    """One line of a rationale.

    Operands are given numbers (n1, n2, ...), results of earlier steps (r1, r2, ...), or 2.
    """

    left: str
    operation: str
    right: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """A template without its words.

    Attributes:
      steps: the computation, in the order in which it is said.
      ranges: smallest and largest value of n1, n2, ...
    """

    steps: tuple[Step, ...]
    ranges: tuple[tuple[int, int], ...]

    def solve(self, numbers: tuple[int, ...]) -> tuple[tuple[int, str, int, int], ...] | None:
        """Each step as (left, operation, right, result); None if the numbers do not suit it."""
        values: dict[str, int] = {"2": 2} | {f"n{i}": n for i, n in enumerate(numbers, 1)}
        lines = []
        for index, step in enumerate(self.steps, 1):
            left, right = values[step.left], values[step.right]
            if step.operation == "/" and left % right:
                return None
            result = OPERATIONS[step.operation](left, right)
            if not SMALLEST <= result <= LARGEST:
                return None
            values[f"r{index}"] = result
            lines.append((left, step.operation, right, result))
        return tuple(lines)


def _plan(steps: str, *ranges: tuple[int, int]) -> Plan:
    return Plan(tuple(Step(*step.split()) for step in steps.split(",")), ranges)


_ANY, _SMALL, _GROUPS, _PER_GROUP = (2, 9), (2, 5), (2, 4), (2, 5)

PLANS: Mapping[str, Plan] = {
    "get": _plan("n1 + n2", _ANY, _ANY),
    "lose": _plan("n1 - n2", (4, 15), _ANY),
    "get_lose": _plan("n1 + n2, r1 - n3", _ANY, _ANY, _ANY),
    "lose_get": _plan("n1 - n2, r1 + n3", (4, 15), _ANY, _ANY),
    "total": _plan("n1 + n2", _ANY, _ANY),
    "more": _plan("n1 + n2", _ANY, _ANY),
    "fewer": _plan("n1 - n2", (4, 15), _ANY),
    "difference": _plan("n1 - n2", (4, 15), _ANY),
    "groups": _plan("n1 * n2", (2, 5), (2, 4)),
    "groups_get": _plan("n1 * n2, r1 + n3", _GROUPS, _PER_GROUP, _ANY),
    "groups_lose": _plan("n1 * n2, r1 - n3", _GROUPS, _PER_GROUP, _ANY),
    "twice": _plan("n1 * 2, n1 + r1", (2, 6)),
    "shared": _plan("n1 / n2", (4, 15), _GROUPS),
    "get_shared": _plan("n1 + n2, r1 / n3", _ANY, _ANY, _GROUPS),
    "days": _plan("n1 * n2", (2, 4), (2, 5)),
    "weekdays": _plan("n1 + n2, r1 - n3", _ANY, _ANY, _ANY),
    "groups_get_lose": _plan("n1 * n2, r1 + n3, r2 - n4", _GROUPS, _SMALL, _SMALL, _SMALL),
    "two_change": _plan("n1 + n3, n2 - n4, r1 + r2", _SMALL, (4, 9), _SMALL, _SMALL),
}
