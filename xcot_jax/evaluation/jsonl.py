"""JSON Lines as benchmarks and demonstrations come in: every line with where it stands."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from xcot_jax.errors import InputError


def lines(path: Path) -> Iterator[tuple[str, str]]:
    """Every line, with where it stands; only line feeds end lines, as questions may hold U+2028.

    Raises:
      InputError: if the file is not UTF-8.
    """
    begin = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{path}: not UTF-8 at byte {begin + error.start}; convert the file"
                ) from error
            begin += len(line)
            yield f"{path}, line {number}", text.removesuffix("\n").removesuffix("\r")


def json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every line's JSON object, with where it stands.

    Raises:
      InputError: for a line that is no JSON object.
    """
    for where, line in lines(path):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{where}: not JSON ({error}); the file may be cut short") from error
        if not isinstance(row, dict):
            raise InputError(f"{where}: expected a JSON object, found {type(row).__name__}")
        yield where, row


def field(where: str, row: Mapping[str, Any], key: str, kind: type) -> Any:
    """A field of the row that must be there and of that kind.

    Raises:
      InputError: if it is not.
    """
    if not isinstance(row.get(key), kind):
        found = f"found {type(row[key]).__name__}" if key in row else f"it has {sorted(row)}"
        raise InputError(f"{where}: field {key!r} must be {kind.__name__}; {found}")
    return row[key]
