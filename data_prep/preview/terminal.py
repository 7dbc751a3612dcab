"""`xcot preview`: groups of a dataset in the terminal, as training will see them.

Lines behind a bar are loss-bearing: the model is trained to say them. A switched fragment is shown
with what it replaced, and the alignment tells, for each token of the answer, the position in each
view whose hidden state predicts it: there the student is held against the teacher.
"""

from __future__ import annotations

import difflib
import itertools
import json
import os
import shutil
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

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
    wanted = (group for group in groups if matches(group, language, recipe))
    loaded = dataset_tokenizer(directory, tokenizer)
    if colour is None:
        colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    width = shutil.get_terminal_size((100, 24)).columns
    shown = 0
    for group in itertools.islice(wanted, count):
        print(render(group, loaded, colour=colour, width=width))
        shown += 1
    if not shown and count > 0:
        everything = [source[index] for index in range(len(source))]
        raise no_such_group(
            f"{directory}: no group of split {split!r}",
            (language, {view.language for group in everything for view in group.students}),
            (recipe, {group.recipe for group in everything}),
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
    starts = [sum(context_lengths(view, tokenizer)) - 1 for view in group.views]
    return [range(start, start + length) for start in starts]


def context_lengths(view: View, tokenizer: Tokenizer) -> tuple[int, int]:
    """The tokens of a view's prompt, with the one that begins a sequence, and of its preamble."""
    begin = int(tokenizer.bos_id is not None)
    return begin + len(tokenizer.encode(view.prompt)), len(tokenizer.encode(view.preamble))


def matches(group: ParallelGroup, language: str | None, recipe: str | None) -> bool:
    """Whether a group is of the recipe and has a student in the language; None stands for any."""
    return (recipe is None or group.recipe == recipe) and (
        language is None or any(view.language == language for view in group.students)
    )


def no_such_group(
    what: str,
    language: tuple[str | None, Collection[str]],
    recipe: tuple[str | None, Collection[str]],
) -> InputError:
    """The error where no group is as asked for.

    Args:
      what: begins the message: where no group was found.
      language: the one asked for, if any, and those that students have.
      recipe: likewise.
    """
    asked, ways = [], []
    for name, (value, there) in (("language", language), ("recipe", recipe)):
        if value is None:
            continue
        asked.append(f"{name} {value!r}")
        near = difflib.get_close_matches(value, sorted(there), n=1)
        hint = f"; did you mean {near[0]!r}?" if near and value not in there else ""
        ways.append(f"{name}s there: {', '.join(sorted(there))}{hint}")
    return InputError("; ".join((f"{what} has {' and '.join(asked) or 'any content'}", *ways)))


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


def dataset_tokenizer(directory: Path, path: str | Path | None) -> Tokenizer | None:
    """The tokenizer asked for, else the dataset's, else the one its settings name."""
    if path:
        return load_tokenizer(path)
    if (directory / MODEL_FILE).is_file():
        return load_tokenizer(directory / MODEL_FILE)
    named = json_file(directory / "config.json").get("data", {}).get("tokenizer")
    return load_tokenizer(named) if named else None


def json_file(path: Path) -> dict[str, Any]:
    """A JSON object beside the shards; empty if there is none.

    Settings are read so as well: to look at a dataset, the rest of them need not be valid.

    Raises:
      InputError: if the file is no JSON object.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON: {error}; run `xcot prep` again") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a JSON object; run `xcot prep` again")
    return content
