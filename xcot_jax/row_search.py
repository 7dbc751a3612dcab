"""The most rows a chip holds: predicted by a line, compiled, corrected."""

from __future__ import annotations

from collections.abc import Callable

Need = Callable[[int], float | None]
"""From rows a chip to the bytes that a chip needs; None where a program of so many does not fit."""


def most_rows(
    need: Need, capacity: float, start: int, slope: float | None = None, *, within: float = 0.0
) -> int:
    """The most rows a chip holds, by few compilations.

    Memory grows linearly with rows but for what the compiler does when it is short of it. The line
    through the last count that fits, with the slope from one well below, gives the next guess; a
    guess that does not fit is a bound. The search ends where the line or a bound leaves no room for
    one row more.

    Args:
      need: compiles.
      capacity: bytes of a chip.
      start: the first count to try; lowered until it fits.
      slope: bytes a row takes, if they are known; measured by doubling `start` if not.
      within: the share of its rows by which what is found may be short of the most.

    Returns:
      rows a chip; 0 if not even one fits.
    """
    bound, back = None, 1
    rows = start
    while (used := need(rows)) is None:
        if rows == 1:
            return 0
        bound, rows = rows, rows - max(1, rows // (4 if slope is None else 8))
    while bound is None or bound - rows > 1 + within * rows:
        guess = 2 * rows
        if slope is not None:
            guess = rows + int((capacity - used) / max(slope, 1.0))
            if guess - rows <= within * rows:
                break
        if bound is not None and guess >= bound:
            guess, back = max(rows + 1, bound - back), 2 * back
        if (found := need(guess)) is None:
            bound = guess
            continue
        if slope is None or 4 * (guess - rows) >= rows:  # Between near counts it is uncertain.
            slope = (found - used) / (guess - rows)
        rows, used = guess, found
    return rows
