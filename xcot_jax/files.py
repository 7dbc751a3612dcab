"""Files and directories that are there whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from etils import epath

from xcot_jax.errors import InputError

AnyPath: TypeAlias = Path | epath.Path
"""A path of this machine, or of object storage, which has the same methods."""


def any_path(name: str) -> AnyPath:
    """The path of a name such as runs/xcot or gs://bucket/runs/xcot."""
    return epath.Path(name) if "://" in name else Path(name)


def is_remote(path: AnyPath) -> bool:
    """Whether a path is one of object storage: what appears there is whole, and never changes."""
    return "://" in os.fspath(path)


def write_whole(path: AnyPath, content: str | bytes) -> None:
    """Writes a file under a temporary name beside it and renames it.

    Text is UTF-8; a lone surrogate, as a byte-level tokenizer may decode to, becomes its escape.
    """
    if isinstance(content, str):
        content = content.encode("utf-8", errors="backslashreplace")
    if is_remote(path):
        path.write_bytes(content)
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


@contextlib.contextmanager
def whole_directory(path: str | Path) -> Iterator[Path]:
    """Yields a directory beside `path` that takes its name if the block succeeds.

    If it fails, the directory is removed; what a killed process left is removed by the next call
    for the same path. The directory is locked as long as the block runs.

    Raises:
      InputError: when `path` holds something already, or another process is writing it.
    """
    target = Path(path).expanduser().resolve()  # Through links: it is renamed into place.
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise InputError(f"{target} is there already; choose another --out or remove it")
    directory = target.with_name(f".{target.name}.partial")
    directory.mkdir(parents=True, exist_ok=True)
    handle = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{target}: another process is writing it") from None
        for leftover in directory.iterdir():
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        try:
            yield directory
            directory.replace(target)
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise
    finally:
        os.close(handle)
