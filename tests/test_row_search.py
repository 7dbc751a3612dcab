"""The search for the most rows a chip holds, on memory that grows as it does in practice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from xcot_jax.row_search import most_rows

CAPACITY = 16_000.0


class Chip:
    """Needs `fixed` bytes and `row` for each row, and counts what is compiled."""

    def __init__(self, fixed, row, saving=0.0):
        self.fixed, self.row, self.saving, self.asked = fixed, row, saving, []

    def needs(self, rows):
        used = self.fixed + self.row * rows
        # Short of memory, the compiler finds a way to do with somewhat less.
        return used - self.saving * self.row * rows if used > 0.8 * CAPACITY else used

    def __call__(self, rows):
        self.asked.append(rows)
        return used if (used := self.needs(rows)) <= CAPACITY else None


@given(st.floats(0, 20_000), st.floats(1, 20_000), st.integers(1, 40))
def test_on_a_line_the_count_is_exact_and_few_are_compiled(fixed, row, start):
    chip = Chip(fixed, row)
    rows = most_rows(chip, CAPACITY, start)
    assert rows == 0 or chip.needs(rows) <= CAPACITY
    assert chip.needs(rows + 1) > CAPACITY * (1 - 1e-9)
    assert len(chip.asked) <= 12 + start.bit_length()


@given(st.floats(0, 10_000), st.floats(100, 3_000), st.floats(0, 0.05))
def test_what_it_finds_fits_though_memory_is_no_line(fixed, row, saving):
    chip = Chip(fixed, row, saving)
    rows = most_rows(chip, CAPACITY, 4)
    assert rows == 0 or chip.needs(rows) <= CAPACITY
    assert rows in chip.asked or rows == 0
    assert rows >= int((CAPACITY - fixed) / row)


def test_a_known_slope_saves_compilations():
    chip = Chip(2_000, 500)
    assert most_rows(chip, CAPACITY, 4, slope=500.0) == 28
    assert chip.asked == [4, 28]


def test_a_slope_that_is_too_flat_is_corrected():
    chip = Chip(2_000, 500)
    assert most_rows(chip, CAPACITY, 4, slope=450.0) == 28
    assert len(chip.asked) <= 6


@given(st.floats(0, 10_000), st.floats(100, 3_000), st.floats(0, 0.05), st.integers(1, 30))
def test_a_search_within_a_share_ends_sooner_and_that_near(fixed, row, saving, start):
    exact, near = Chip(fixed, row, saving), Chip(fixed, row, saving)
    most = most_rows(exact, CAPACITY, start)
    found = most_rows(near, CAPACITY, start, within=0.1)
    assert most / 1.2 - 1 <= found <= most
    assert len(near.asked) <= len(exact.asked)


def test_no_row_fits():
    assert most_rows(Chip(20_000, 1), CAPACITY, 4) == 0
