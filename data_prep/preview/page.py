"""`xcot preview --html`: a sample of a dataset's groups as one self-contained page.

Here all that the page shows is gathered, as JSON. The files of assets/, joined into one, lay it out
in the reader's browser.
"""

from __future__ import annotations

import importlib.resources
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from data_prep.preview.sample import TEACHER, Drawn, Sample, draw
from data_prep.preview.terminal import (
    context_lengths,
    dataset_tokenizer,
    json_file,
    predicting_positions,
)
from xcot_jax.data.dataset import local_directory
from xcot_jax.data.records import View
from xcot_jax.data.tokenizer import Tokenizer
from xcot_jax.errors import InputError
from xcot_jax.files import write_whole
from xcot_jax.languages import LANGUAGES

COUNT = 200  # groups of a page, unless told

_PAGE = importlib.resources.files("data_prep.preview") / "assets"
_SCRIPTS = ("groups.js", "lengths.js", "controls.js")

# What would end the script element or, in old browsers, the string that it stands in.
_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def write_page(
    directory: Path,
    page: Path,
    count: int = COUNT,
    tokenizer: str | Path | None = None,
    language: str | None = None,
    recipe: str | None = None,
    seed: int = 0,
) -> None:
    """Writes the page, and says so; the same dataset and arguments give the same bytes.

    Args:
      directory: the dataset.
      page: HTML file to write; directories above it are made.
      count: most groups to show.
      tokenizer: path of the tokenizer to measure and align with; by default the dataset's own.
      language: only groups with a student in this language.
      recipe: only groups of this recipe.
      seed: of the sample.

    Raises:
      InputError: if no group is as asked for, or `page` is a directory.
    """
    directory, page = local_directory(directory), Path(page).expanduser()
    if page.is_dir():
        raise InputError(f"{page} is a directory; name a file in it: --html={page / 'groups.html'}")
    sample = draw(directory, count, language, recipe, seed)
    loaded = dataset_tokenizer(directory, tokenizer)
    asked = {"language": language, "recipe": recipe}
    content = render_page(page_data(directory, sample, loaded, asked))
    page.parent.mkdir(parents=True, exist_ok=True)
    write_whole(page, content)
    print(f"{page}: {len(sample.groups):,} of {sum(sample.sizes.values()):,} groups")
    if loaded is None:
        print("No lengths and no alignment: the dataset has no tokenizer of its own; give one.")


def render_page(data: Mapping[str, Any]) -> str:
    """The page that shows this data. It refers to nothing outside itself."""

    def read(name: str) -> str:
        return _PAGE.joinpath(name).read_text(encoding="utf-8")

    inside = {
        "style": read("page.css"),
        "script": "\n".join(map(read, _SCRIPTS)),
        "data": json.dumps(data, ensure_ascii=False, separators=(",", ":")).translate(_ESCAPES),
    }
    # One pass, so that a mark in the data stays the text it is.
    return re.sub("@(style|script|data)@", lambda mark: inside[mark[1]], read("page.html"))


def page_data(
    directory: Path,
    sample: Sample,
    tokenizer: Tokenizer | None,
    asked: Mapping[str, str | None],
) -> dict[str, Any]:
    """What a page shows, ready for JSON.

    Texts that hold switched fragments are lists of strings and `[fragment, what it replaced]`
    pairs: characters are counted otherwise in JavaScript, so offsets would not do.
    """
    card = json_file(directory / "data_card.json")
    dropped = _leaves(card.get("dropped", {}))
    row_tokens = json_file(directory / "config.json").get("data", {}).get("row_tokens")
    codes = {code for _, _, code in sample.cells}
    return {
        "name": directory.resolve().name,
        "asked": dict(asked),
        "sizes": dict(sample.sizes),
        "languages": {
            code: LANGUAGES[code].name if code in LANGUAGES else code
            for code in (*(c for c in LANGUAGES if c in codes), *sorted(codes - LANGUAGES.keys()))
        },
        "cells": [
            [split, recipe, code, number]
            for (split, recipe, code), number in sample.cells.items()
            if recipe != TEACHER
        ],
        "facts": [list(fact) for fact in _facts(sample, card, row_tokens, tokenizer)],
        "dropped": sorted(dropped, key=lambda drop: (-drop[1], drop[0])),
        "card": json.dumps(card, ensure_ascii=False, indent=2) if card else "",
        "row_tokens": row_tokens,
        "end": tokenizer.special.get(tokenizer.eos_id, "<eos>") if tokenizer else "<eos>",
        "tokenized": tokenizer is not None,
        "groups": [_group(drawn, tokenizer) for drawn in sample.groups],
    }


def _group(drawn: Drawn, tokenizer: Tokenizer | None) -> dict[str, Any]:
    group = drawn.group
    shown: dict[str, Any] = {
        "id": group.id,
        "recipe": group.recipe,
        "split": drawn.split,
        "index": drawn.index,
        "answer": group.answer,
        "teacher": group.teacher is not None,
        "views": [
            {"language": view.language, "prompt": _segments(view), "preamble": view.preamble}
            for view in group.views
        ],
    }
    if tokenizer is None:
        return shown
    # The last piece is the end, which is predicted and trained like the others.
    shown["pieces"] = tokenizer.pieces([*tokenizer.encode(group.answer), tokenizer.eos_id])
    positions = predicting_positions(group, tokenizer)
    for view, entry, predicting in zip(group.views, shown["views"], positions, strict=True):
        entry["tokens"] = context_lengths(view, tokenizer)
        entry["predicts"] = predicting.start
    return shown


def _segments(view: View) -> list[str | list[str]]:
    segments: list[str | list[str]] = []
    done = 0
    for switch in view.switches:
        segments += [view.prompt[done : switch.start]]
        segments += [[view.prompt[switch.start : switch.end], switch.source]]
        done = switch.end
    return [part for part in (*segments, view.prompt[done:]) if part]


def _facts(
    sample: Sample,
    card: Mapping[str, Any],
    row_tokens: int | None,
    tokenizer: Tokenizer | None,
) -> Iterator[tuple[str, str]]:
    """The main numbers of a dataset as (name, what is to be said); what is unknown is left out."""
    yield "Groups", _listed(sample.sizes)
    teachers = {c: n for (_, recipe, c), n in sample.cells.items() if recipe == TEACHER}
    names = [LANGUAGES[code].name if code in LANGUAGES else code for code in teachers]
    yield "Teachers", ", ".join(dict.fromkeys(names)) or "none"
    if isinstance(card.get("source"), str):
        yield "Source", card["source"]
    if isinstance(card.get("problems"), Mapping):
        yield "Problems", _listed(card["problems"])
    switching = card.get("code_switching", {})
    if switching.get("fragments_covered"):
        switched, covered = switching["fragments_switched"], switching["fragments_covered"]
        yield (
            "Code-switched",
            f"{switched:,} of {covered:,} covered fragments ({switched / covered:.1%})",
        )
    if "dropped" in card:
        dropped = sum(number for _, number in _leaves(card["dropped"]))
        yield "Left out", f"{dropped:,}" if dropped else "nothing"
    if tokenizer:
        yield "Tokenizer", f"{tokenizer.path.name}, {tokenizer.vocab_size:,} tokens"
    else:
        yield "Tokenizer", "none: lengths and positions are not shown; give one with --tokenizer"
    if row_tokens:
        yield "Row", f"{row_tokens:,} tokens (data.row_tokens)"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in counts.items())


def _leaves(tree: Any, prefix: str = "") -> list[tuple[str, int]]:
    """The numbers of a tree with their paths."""
    leaves: list[tuple[str, int]] = []
    for name, value in tree.items() if isinstance(tree, Mapping) else ():
        if isinstance(value, Mapping):
            leaves += _leaves(value, f"{prefix}{name}: ")
        elif isinstance(value, int):
            leaves.append((prefix + name, value))
    return leaves
