"""`xcot preview`: groups of a dataset in the terminal, as training will see them.

Lines behind a bar are loss-bearing: the model is trained to say them. A switched fragment is shown
with what it replaced, and the alignment tells, for each token of the answer, the position in each
view whose hidden state predicts it: there the student is held against the teacher.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from xcot_jax import config
from xcot_jax.data.records import ParallelGroup, View
from xcot_jax.data.source import GroupSource
from xcot_jax.data.tokenizer import MODEL_FILE, Tokenizer, load_tokenizer
from xcot_jax.errors import InputError

_STYLES = {"title": "1", "dim": "2", "loss": "32", "switched": "30;43"}


def preview(
    directory: Path,
    count: int,
    tokenizer: str | Path | None = None,
    language: str | None = None,
    recipe: str | None = None,
    colour: bool | None = None,
    split: str = "train",
) -> None:
    """Prints groups of a dataset.

    Args:
      directory: the dataset.
      count: most groups to print, from the first on.
      tokenizer: path of the tokenizer to align with; by default the dataset's own.
      language: only groups with a student in this language.
      recipe: only groups of this recipe.
      colour: whether to colour; by default where standard output is a terminal and the environment
        does not set NO_COLOR.
      split: which split.

    Raises:
      InputError: if no group is as asked for.
    """
    directory = Path(directory).expanduser()
    source = GroupSource(directory, split)
    groups = (source[index] for index in range(len(source)))
    wanted = (
        group
        for group in groups
        if (recipe is None or group.recipe == recipe)
        and (language is None or any(view.language == language for view in group.students))
    )
    loaded = _tokenizer(directory, tokenizer)
    if colour is None:
        colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    width = shutil.get_terminal_size((100, 24)).columns
    shown = 0
    for group in itertools.islice(wanted, count):
        print(render(group, loaded, colour=colour, width=width))
        shown += 1
    if not shown and count > 0:
        asked = " and ".join(
            f"{name} {value!r}"
            for name, value in (("language", language), ("recipe", recipe))
            if value
        )
        raise InputError(
            f"{directory}: no group of split {split!r} has {asked or 'any content'}; "
            "data_card.json lists what there is"
        )
    if loaded is None:
        print("No alignment shown: the dataset has no tokenizer of its own; give one.")


def render(
    group: ParallelGroup,
    tokenizer: Tokenizer | None = None,
    *,
    colour: bool = False,
    width: int = 100,
) -> str:
    """A group as text; switched fragments are `[new←old]` without colour."""
    lines = [_paint(f"━━ {group.id}  recipe {group.recipe}", "title", colour)]
    for view in group.views:
        role = "teacher" if view is group.teacher else "student"
        lines.append(
            _paint(f"{role if group.teacher else 'view'} {view.language}", "title", colour)
        )
        lines += _block(_prompt(view, colour), "  ")
        if view.preamble:
            lines += _block(view.preamble, "▌ ", "loss", colour)
    shared = " (the same tokens after every view)" if len(group.views) > 1 else ""
    lines.append(_paint(f"answer{shared}", "title", colour))
    end = tokenizer.special.get(tokenizer.eos_id, "<eos>") if tokenizer else "<eos>"
    lines += _block(group.answer + end, "▌ ", "loss", colour)
    if tokenizer:
        lines.append(_paint("position that predicts each answer token", "title", colour))
        lines += _alignment(group, tokenizer, width)
    return "\n".join((*lines, ""))


def predicting_positions(group: ParallelGroup, tokenizer: Tokenizer) -> list[range]:
    """For each view, the positions of its tokens that predict the answer's and then its end."""
    length = len(tokenizer.encode(group.answer)) + 1
    begin = int(tokenizer.bos_id is not None)
    starts = [
        begin + len(tokenizer.encode(v.prompt)) + len(tokenizer.encode(v.preamble)) - 1
        for v in group.views
    ]
    return [range(start, start + length) for start in starts]


def _prompt(view: View, colour: bool) -> str:
    pieces, done = [], 0
    for switch in view.switches:
        new = view.prompt[switch.start : switch.end]
        pieces.append(view.prompt[done : switch.start])
        if colour:
            pieces += (_paint(new, "switched", True), _paint(f"←{switch.source}", "dim", True))
        else:
            pieces.append(f"[{new}←{switch.source}]")
        done = switch.end
    return "".join((*pieces, view.prompt[done:]))


def _block(text: str, margin: str, style: str = "", colour: bool = False) -> list[str]:
    """The lines of a text behind a margin; the line break at its end is not shown."""
    return [margin + _paint(line, style, colour) for line in text.removesuffix("\n").split("\n")]


def _alignment(group: ParallelGroup, tokenizer: Tokenizer, width: int) -> Iterator[str]:
    ids = [*tokenizer.encode(group.answer), tokenizer.eos_id]
    pieces = [p.replace("\n", "⏎").replace(" ", "·") for p in tokenizer.pieces(ids)]
    positions = predicting_positions(group, tokenizer)
    columns = [
        [piece, *(str(view[index]) for view in positions)] for index, piece in enumerate(pieces)
    ]
    names = ["token", *(view.language for view in group.views)]
    margin = max(map(len, names)) + 2
    while columns:
        widths = itertools.accumulate(max(map(len, column)) + 1 for column in columns)
        fitting = max(sum(1 for total in widths if total <= width - margin - 2), 1)
        for row, name in enumerate(names):
            cells = (c[row].ljust(max(map(len, c))) for c in columns[:fitting])
            yield f"  {name:<{margin}}{' '.join(cells)}".rstrip()
        columns = columns[fitting:]


def _paint(text: str, style: str, colour: bool) -> str:
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if colour and style and text else text


def _tokenizer(directory: Path, path: str | Path | None) -> Tokenizer | None:
    """The tokenizer asked for, else the dataset's, else the one its settings name."""
    if path:
        return load_tokenizer(path)
    if (directory / MODEL_FILE).is_file():
        return load_tokenizer(directory / MODEL_FILE)
    saved = directory / "config.json"
    named = config.load(saved).data.tokenizer if saved.is_file() else ""
    return load_tokenizer(named) if named else None
