"""A model's weights as Hugging Face keeps them on disk, read by rows.

    model.safetensors, or model-00001-of-00003.safetensors ... and model.safetensors.index.json
    pytorch_model.bin, or its shards and pytorch_model.bin.index.json: with torch

No file stays open or mapped between two reads, as mapped pages that were touched count as the
process's memory.
"""

from __future__ import annotations

import dataclasses
import json
import math
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from xcot_jax.errors import InputError

KINDS = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
"""The types that weights come in, by safetensors' names for them."""

_NO_TORCH = "reading it needs torch 2.6 or newer: pip install 'xcot-jax[torch]'"


class CheckpointError(InputError):
    """A checkpoint directory that cannot be read, or whose tensors do not fit the model."""


@dataclasses.dataclass(frozen=True)
class _Stored:
    """A tensor on disk.

    Attributes:
      file: that holds it.
      name: of the tensor.
      shape: of the tensor.
      kind: its type, as the format names it.
      offset: where it begins in a safetensors file, in bytes.
    """

    file: Path
    name: str
    shape: tuple[int, ...]
    kind: str
    offset: int = 0


@dataclasses.dataclass(frozen=True)
class _Format:
    """A way to keep tensors in files.

    Attributes:
      single: name of the only file.
      kinds: types of weights, by the format's names.
      contents: the tensors of a file, none of which is read.
      read: rows start:stop of a tensor, in any shape.
    """

    single: str
    kinds: Mapping[str, np.dtype]
    contents: Callable[[Path], dict[str, _Stored]]
    read: Callable[[_Stored, np.dtype, int, int], np.ndarray]

    @property
    def index(self) -> str:
        """Name of the file that tells which shard holds which tensor."""
        return f"{self.single}.index.json"


class TensorFiles:
    """The tensors of a model directory.

    Files are looked for in the order in which transformers does: `model.safetensors`, its shards,
    `pytorch_model.bin`, its shards.
    """

    def __init__(self, directory: str | Path) -> None:
        """Reads which tensors there are; nothing of their values.

        Raises:
          CheckpointError: for a directory without weights, a broken index, missing or broken files,
            and tensors that are not where the index says.
        """
        directory = Path(directory)
        for form in _FORMATS:
            if (directory / form.single).is_file():
                self._tensors = form.contents(directory / form.single)
                break
            if (directory / form.index).is_file():
                self._tensors = _indexed(directory / form.index, form.contents)
                break
        else:
            wanted = ", ".join(name for form in _FORMATS for name in (form.single, form.index))
            raise CheckpointError(f"{directory} holds no weights: none of {wanted} is there")
        self._format = form

    def names(self) -> set[str]:
        """The names of all tensors."""
        return set(self._tensors)

    def paths(self) -> list[Path]:
        """The files that hold the tensors, in the order of their names."""
        return sorted({stored.file for stored in self._tensors.values()})

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor."""
        return self._tensors[name].shape

    def dtype(self, name: str) -> np.dtype:
        """The type a tensor is stored in: float64, float32, float16 or `ml_dtypes.bfloat16`.

        Raises:
          CheckpointError: for any other, as quantised weights have.
        """
        stored = self._tensors[name]
        if stored.kind not in self._format.kinds:
            raise CheckpointError(
                f"{stored.file}: {name} is stored as {stored.kind}, not as floating point of 16 "
                "bits or more; if the checkpoint is quantised, take its unquantised original, or "
                "dequantise it (transformers: model.dequantize(), then save_pretrained)"
            )
        return self._format.kinds[stored.kind]

    def read(self, name: str, start: int | None = None, stop: int | None = None) -> np.ndarray:
        """Rows start:stop along a tensor's first axis, in the type it is stored in.

        The host holds little more than these rows, whatever the size of the tensor. Bounds are
        those of a Python slice; a scalar is always read whole.

        Raises:
          CheckpointError: for a type that `dtype` refuses, or a file that changed meanwhile.
        """
        stored, dtype = self._tensors[name], self.dtype(name)
        if not stored.shape:
            return self._format.read(stored, dtype, 0, 1).reshape(())
        start, stop, _ = slice(start, stop).indices(stored.shape[0])
        stop = max(start, stop)
        rows = self._format.read(stored, dtype, start, stop)
        return rows.reshape(stop - start, *stored.shape[1:])


def _indexed(index: Path, contents: Callable[[Path], dict[str, _Stored]]) -> dict[str, _Stored]:
    """The tensors of all shards that an index names."""
    try:
        placed = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        shards = sorted(set(placed.values()))
        files = {shard: index.parent / shard for shard in shards}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{index} is not JSON with a weight_map of tensor and file names ({error!r}); copy or "
            "download it again"
        ) from error
    absent = [shard for shard in shards if not files[shard].is_file()]
    if absent:
        raise CheckpointError(
            f"{index.parent} lacks {', '.join(absent)}, which {index.name} names; copy or download "
            "what is missing"
        )
    held = {shard: contents(files[shard]) for shard in shards}
    astray = sorted(name for name, shard in placed.items() if name not in held[shard])
    if astray:
        listing = "\n  ".join(f"{name}: {placed[name]}" for name in astray)
        raise CheckpointError(
            f"{index} places tensors in files that do not hold them; copy or download it and these "
            f"files again:\n  {listing}"
        )
    # What no index names is there too; where two files hold a name, the index decides.
    found = {name: tensor for tensors in held.values() for name, tensor in tensors.items()}
    return found | {name: held[shard][name] for name, shard in placed.items()}


def _broken(file: Path, error: object) -> CheckpointError:
    return CheckpointError(f"{file} is broken ({error}); copy or download it again")


def _safetensors_contents(path: Path) -> dict[str, _Stored]:
    try:
        with safe_open(path, framework="np"):  # Checks the header, and that all bytes are there.
            pass
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
    except (SafetensorError, ValueError) as error:
        raise _broken(path, error) from error
    return {
        name: _Stored(
            path, name, tuple(entry["shape"]), entry["dtype"], 8 + length + entry["data_offsets"][0]
        )
        for name, entry in header.items()
        if name != "__metadata__"
    }


def _safetensors_read(stored: _Stored, dtype: np.dtype, start: int, stop: int) -> np.ndarray:
    row = math.prod(stored.shape[1:])
    offset = stored.offset + start * row * dtype.itemsize
    count = (stop - start) * row
    flat = np.fromfile(stored.file, dtype, count, offset=offset)
    if flat.size != count:
        raise _broken(stored.file, f"it ends within {stored.name}")
    return flat


def _pickled(path: Path) -> dict[str, Any]:
    """The tensors of a file of torch.save's, mapped into memory while the result lives."""
    try:
        import torch
    except ImportError as error:
        raise CheckpointError(f"{path}: {_NO_TORCH}") from error
    # Before 2.6, weights_only did not keep a prepared file from running code (CVE-2025-32434).
    if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 6):
        raise CheckpointError(f"{path}: {_NO_TORCH}, not {torch.__version__}")
    way_out = "take the checkpoint's safetensors, or save model.state_dict() alone with torch.save"
    try:
        loaded = torch.load(path, mmap=True, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError:  # Its own words advise to run whatever code the file holds.
        raise CheckpointError(
            f"{path} is broken or holds other objects than tensors; {way_out}"
        ) from None
    except (RuntimeError, OSError, EOFError) as error:
        raise _broken(path, f"no zip file of torch.save's: {error}") from error
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{path} holds a {type(loaded).__name__}, no state dict; {way_out}")
    for name, value in loaded.items():
        if not isinstance(value, torch.Tensor):
            kind = type(value).__name__
            raise CheckpointError(f"{path} holds a {kind} as {name!r}, no tensor; {way_out}")
    return loaded


def _pickled_contents(path: Path) -> dict[str, _Stored]:
    tensors = {}
    for name, tensor in _pickled(path).items():
        # A sparse tensor's rows are not to be had by themselves.
        kind = tensor.dtype if str(tensor.layout) == "torch.strided" else tensor.layout
        tensors[name] = _Stored(path, name, tuple(tensor.shape), str(kind))
    return tensors


def _pickled_read(stored: _Stored, dtype: np.dtype, start: int, stop: int) -> np.ndarray:
    import torch

    tensor = _pickled(stored.file)[stored.name].detach()
    rows = tensor[start:stop] if stored.shape else tensor
    # A copy, so that the map is given up; as integers, as numpy cannot take torch's bfloat16.
    copy = rows.clone(memory_format=torch.contiguous_format)
    return copy.view(getattr(torch, f"int{8 * dtype.itemsize}")).numpy().view(dtype)


_SAFETENSORS = _Format("model.safetensors", KINDS, _safetensors_contents, _safetensors_read)
_FORMATS = (
    _SAFETENSORS,
    _Format(
        "pytorch_model.bin",
        {f"torch.{dtype.name}": dtype for dtype in KINDS.values()},
        _pickled_contents,
        _pickled_read,
    ),
)
