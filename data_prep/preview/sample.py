"""Which groups of a dataset a page shows: drawn evenly over splits, recipes and languages."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from data_prep.preview.terminal import json_file, matches, no_such_group
from xcot_jax.data.dataset import read_splits
from xcot_jax.data.records import ParallelGroup
from xcot_jax.data.source import GroupSource

TEACHER = ""  # stands for the recipe where a cell counts teachers

Cell = tuple[str, str, str]  # split, recipe, language of a student (or `TEACHER`, of a teacher)


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A group of the sample, and where it stands in the dataset."""

    split: str
    index: int
    group: ParallelGroup


@dataclasses.dataclass(frozen=True)
class Sample:
    """Some groups of a dataset.

    Attributes:
      groups: in the order they were drawn in, which takes recipes and languages in turn.
      sizes: split -> how many groups the whole dataset has.
      cells: how many views the whole dataset has in each cell.
    """

    groups: tuple[Drawn, ...]
    sizes: Mapping[str, int]
    cells: Mapping[Cell, int]


def draw(
    directory: Path,
    count: int,
    language: str | None = None,
    recipe: str | None = None,
    seed: int = 0,
) -> Sample:
    """Draws groups evenly over splits, recipes and languages, at random within each.

    All that occur are represented if `count` allows. Where data_card.json tells what there is,
    groups are read only until enough of each have been seen; else all are.

    Args:
      directory: the dataset.
      count: most groups to draw.
      language: only groups with a student in this language.
      recipe: only groups of this recipe.
      seed: of the randomness.

    Raises:
      InputError: if no group is as asked for.
    """
    sources = {split: GroupSource(directory, split) for split in read_splits(directory)}
    sizes = {split: len(source) for split, source in sources.items()}
    card = _card_cells(directory, sizes)
    counted: Counter[Cell] = Counter()
    found: dict[Cell, list[Drawn]] = defaultdict(list)
    for number, (split, source) in enumerate(sources.items()):
        wanted = None if card is None else _wanted(card, split, language, recipe)
        if wanted == {}:
            continue
        seen = 0
        for index in np.random.default_rng((seed, number)).permutation(len(source)).tolist():
            group = source[index]
            cells = _cells(split, group)
            counted.update(cells)
            if not matches(group, language, recipe):
                continue
            seen += 1
            for cell in set(cells):
                if len(found[cell]) < count:
                    found[cell].append(Drawn(split, index, group))
            if wanted and seen >= count:
                enough = -(-count // len(wanted))
                if all(len(found[cell]) >= min(size, enough) for cell, size in wanted.items()):
                    break
    everything = dict(sorted((counted if card is None else card).items()))
    if not found:
        students = [(kind, code) for _, kind, code in everything if kind != TEACHER]
        raise no_such_group(
            f"{directory}: no group",
            (language, {code for _, code in students}),
            (recipe, {kind for kind, _ in students}),
        )
    return Sample(tuple(_in_turn(found, count)), sizes, everything)


def _in_turn(found: Mapping[Cell, list[Drawn]], count: int) -> Iterator[Drawn]:
    """Takes groups from the cells in turn, those of rarely shown recipes and languages first."""
    left = {cell: iter(drawn) for cell, drawn in sorted(found.items())}
    done: set[tuple[str, int]] = set()
    of_cell: Counter[Cell] = Counter()
    of_part: Counter[tuple[int, str]] = Counter()  # of a split (0), a recipe (1), a language (2)
    while left and len(done) < count:
        cell = min(left, key=lambda cell: (of_cell[cell], sum(of_part[p] for p in enumerate(cell))))
        drawn = next((d for d in left[cell] if (d.split, d.index) not in done), None)
        if drawn is None:
            del left[cell]
            continue
        done.add((drawn.split, drawn.index))
        for shown in set(_cells(drawn.split, drawn.group)):
            of_cell[shown] += 1
            of_part.update(enumerate(shown))
        yield drawn


def _cells(split: str, group: ParallelGroup) -> list[Cell]:
    """The cell of each view of a group."""
    students = [(split, group.recipe, view.language) for view in group.students]
    return [*students, (split, TEACHER, group.teacher.language)] if group.teacher else students


def _wanted(
    card: Mapping[Cell, int], split: str, language: str | None, recipe: str | None
) -> dict[Cell, int]:
    """The cells of a split whose groups are as asked for; teachers' only if anything is."""
    return {
        cell: size
        for cell, size in card.items()
        if cell[0] == split
        and recipe in (None, cell[1])
        and (language is None or (language == cell[2] and cell[1] != TEACHER))
    }


def _card_cells(directory: Path, sizes: Mapping[str, int]) -> dict[Cell, int] | None:
    """What data_card.json says there is; None without a card of this very dataset."""
    card = json_file(directory / "data_card.json")
    if card.get("groups") != sizes or not {"student_views", "teacher_views"} <= card.keys():
        return None
    cells = {
        (split, kind, code): number
        for split, recipes in card["student_views"].items()
        for kind, codes in recipes.items()
        for code, number in codes.items()
    }
    for split, codes in card["teacher_views"].items():
        cells |= {(split, TEACHER, code): number for code, number in codes.items()}
    return cells
