"""A model's weights written to disk as Hugging Face keeps them: safetensors, in shards."""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xcot_jax.files import write_whole
from xcot_jax.models.tensor_files import KINDS

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"

Layout = Mapping[str, tuple[tuple[int, ...], np.dtype]]
"""Tensor name -> shape and type, in the order in which tensors are written."""


def write_tensors(
    directory: Path,
    layout: Layout,
    tensors: Iterable[tuple[str, np.ndarray]],
    shard_bytes: int = 4 << 30,
) -> None:
    """Writes tensors as safetensors: one file if they fit, else shards with an index.

    Each file gets its name when it is complete, and the index comes last. The host holds one tensor
    at a time; the same tensors give the same bytes.

    Args:
      directory: where to; it should hold no other weights.
      layout: what will come.
      tensors: names and values, in the order of the layout.
      shard_bytes: most bytes of tensors in one file; a larger tensor gets one of its own.

    Raises:
      ValueError: for tensors other than the layout's.
    """
    parts = _parts(layout, shard_bytes)
    single, _, ending = SINGLE.partition(".")
    paired = zip(layout.items(), tensors, strict=True)
    placed: dict[str, str] = {}
    for number, part in enumerate(parts, 1):
        sharded = f"{single}-{number:05d}-of-{len(parts):05d}.{ending}"
        file = SINGLE if len(parts) == 1 else sharded
        _write_shard(directory / file, part, itertools.islice(paired, len(part)))
        placed |= dict.fromkeys(part, file)
    next(paired, None)  # A tensor too many is an error of zip's.
    if len(parts) > 1:
        total = sum(_size(*spec) for spec in layout.values())
        index = {"metadata": {"total_size": total}, "weight_map": placed}
        text = json.dumps(index, indent=2, sort_keys=True) + "\n"
        write_whole(directory / INDEX, text)


def _parts(layout: Layout, shard_bytes: int) -> list[Layout]:
    """The layout of each shard, filled in order."""
    parts: list[dict[str, tuple[tuple[int, ...], np.dtype]]] = [{}]
    held = 0
    for name, spec in layout.items():
        if parts[-1] and held + _size(*spec) > shard_bytes:
            parts.append({})
            held = 0
        parts[-1][name] = spec
        held += _size(*spec)
    return list(parts)


def _write_shard(
    path: Path,
    layout: Layout,
    paired: Iterator[tuple[tuple[str, tuple[tuple[int, ...], np.dtype]], tuple[str, np.ndarray]]],
) -> None:
    header, offsets = _header(layout)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(header)
            for (name, spec), (found, array) in paired:
                if (found, (array.shape, array.dtype)) != (name, spec):
                    raise ValueError(
                        f"{found}, {array.shape} of {array.dtype}, came where the layout has "
                        f"{name}, {spec[0]} of {spec[1]}"
                    )
                file.seek(offsets[name])
                np.ascontiguousarray(array).tofile(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _header(layout: Layout) -> tuple[bytes, dict[str, int]]:
    """A safetensors file's first bytes, and where in the file each tensor begins.

    Wider types come first, as in files of the safetensors library: every tensor is aligned.
    """
    kinds = {dtype: kind for kind, dtype in KINDS.items()}
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}  # Transformers asks for it.
    begins, end = {}, 0
    for name, (shape, dtype) in sorted(layout.items(), key=lambda t: (-t[1][1].itemsize, t[0])):
        begins[name], end = end, end + _size(shape, dtype)
        offsets = [begins[name], end]
        entries[name] = {"dtype": kinds[dtype], "shape": list(shape), "data_offsets": offsets}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    header = len(text).to_bytes(8, "little") + text
    return header, {name: len(header) + begin for name, begin in begins.items()}


def _size(shape: tuple[int, ...], dtype: np.dtype) -> int:
    return math.prod(shape) * dtype.itemsize
