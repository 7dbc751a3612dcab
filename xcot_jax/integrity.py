"""Checksums of a checkpoint's files: what storage lost or changed is noticed before it is used.

Neither Orbax nor the formats it writes notice a flipped bit in an array. On object storage, which
checks contents itself, only names and sizes are noted.
"""

from __future__ import annotations

import json
import os
from typing import Any

import google_crc32c
from etils import epath

FILE = "checksums.json"
"""Name of the list, in the directory it is about."""

_CHUNK = 2**20
_REWRITTEN = ("_CHECKPOINT_METADATA", "commit_success.txt")
"""What Orbax writes at the top of a checkpoint after the list is made."""


def write_checksums(directory: epath.PathLike) -> None:
    """Lists all files below a directory that is complete but for this list."""
    root = epath.Path(directory)
    files = {
        name: _describe(root / name)
        for name in sorted(_below(root))
        if name not in (FILE, *_REWRITTEN)
    }
    (root / FILE).write_text(json.dumps(files, indent=1) + "\n")


def damage(directory: epath.PathLike, part: int = 0, parts: int = 1) -> str:
    """What is wrong with a directory that `write_checksums` listed; empty if nothing is.

    Args:
      directory: the directory.
      part: only every `parts`-th file is read, beginning with this one, so that several hosts
        share the work.
      parts: number of hosts.
    """
    root = epath.Path(directory)
    try:
        listed: dict[str, dict[str, Any]] = json.loads((root / FILE).read_bytes())
        names = sorted(listed)
    except FileNotFoundError:
        return f"{FILE} is missing"
    except (ValueError, TypeError):
        return f"{FILE} is damaged"
    for name in names[part::parts]:
        try:
            found = _describe(root / name)
        except FileNotFoundError:
            return f"{name} is missing"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror or error})"
        if found["bytes"] != listed[name].get("bytes"):
            return f"{name} has {found['bytes']} bytes, not {listed[name].get('bytes')}"
        if found != listed[name]:
            return f"{name} is not what was written (CRC-32C {found.get('crc32c')})"
    return ""


def _below(root: epath.Path) -> list[str]:
    """The files below a directory, by their paths in it."""
    return [
        os.path.relpath(os.fspath(folder / file), os.fspath(root))
        for folder, _, files in root.walk()
        for file in files
    ]


def _describe(path: epath.Path) -> dict[str, Any]:
    size = path.stat().length
    if "://" in os.fspath(path):
        return {"bytes": size}
    crc = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            crc = google_crc32c.extend(crc, chunk)
    return {"bytes": size, "crc32c": f"{crc:08x}"}
