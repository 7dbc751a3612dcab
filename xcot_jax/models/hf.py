"""Hugging Face checkpoints in and out: from tensors on disk to shards on the mesh, and back."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from xcot_jax import sharding
from xcot_jax.errors import InputError
from xcot_jax.models import lora, transformer
from xcot_jax.models.config import ModelConfig
from xcot_jax.models.families import FAMILIES, Family
from xcot_jax.models.tables import Row
from xcot_jax.models.tensor_files import CheckpointError, TensorFiles

_CHUNK_BYTES = 2**25  # What the host holds of a tensor at a time.

_HEAD = "lm_head.weight"

_DERIVED = (".rotary_emb.inv_freq", ".self_attn.bias", ".self_attn.masked_bias")
"""Endings of tensors that some checkpoints carry although they follow from the configuration."""


def read_config(directory: str | Path) -> dict[str, Any]:
    """The checkpoint's `config.json`.

    Raises:
      CheckpointError: when it is absent or not a JSON object.
    """
    path = Path(directory).expanduser() / "config.json"
    if not path.parent.is_dir():
        raise CheckpointError(
            f"{path.parent} is no directory; models are read from disk, where "
            "`hf download NAME --local-dir DIR` puts one of the hub"
        )
    if not path.exists():
        adapter = (path.parent / "adapter_config.json").exists()
        hint = "; it holds adapters: merge them into their model first" if adapter else ""
        raise CheckpointError(
            f"{path} does not exist; a Hugging Face model directory holds one{hint}"
        )
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} holds a {type(found).__name__}, not a model's settings")
    return found


def load(
    directory: str | Path, config: ModelConfig, mesh: Mesh, dtype: str = "float32"
) -> transformer.Params:
    """Reads a checkpoint's weights into their shards, a piece of a tensor at a time.

    The host holds one piece beside what lies on its devices, and reads only what they need.

    Args:
      directory: holds `model.safetensors`, or its shards with `model.safetensors.index.json`, or
        the same of `pytorch_model.bin`.
      config: the decoder (`families.from_hf`); adapters are not read.
      mesh: where the parameters live.
      dtype: type of the parameters.

    Returns:
      parameters for `transformer.apply`.

    Raises:
      CheckpointError: for missing files, broken files, and one listing of all tensors that are
        missing, unexpected, or of another shape; before any weight is read.
    """
    config = dataclasses.replace(config, lora=None)
    files = TensorFiles(Path(directory))
    shapes, axes = transformer.param_shapes(config), transformer.logical_axes(config)
    params: transformer.Params = {}
    for row, names in _plan(directory, files, config).items():
        shape = at(shapes, row.path).shape
        target = sharding.logical_to_sharding(mesh, at(axes, row.path), shape)
        put(params, row.path, _read(row, names, files, shape, target, dtype))
    return params


def tensors(
    params: transformer.Params, config: ModelConfig, dtype: str = "float32"
) -> Iterator[tuple[str, np.ndarray]]:
    """The tensors of a checkpoint in the order of the family's table, one at a time.

    Padding of the vocabulary is cut off, and adapters are merged into their matrices.

    Raises:
      InputError: for a tensor with values beyond float16, if that is asked for.
    """
    for rows in _by_tensor(FAMILIES[config.family], _checkpoint_shapes(config)):
        for layer in range(config.layers) if rows[0].stacked else (None,):
            arrays = [_leaf(params, row.path, layer, config, dtype) for row in rows]
            name, tensor = rows[0].name.format(layer=layer), rows[0].stored(arrays)
            if dtype == "float16" and not np.isfinite(tensor).all():
                raise InputError(f"{name} has values beyond float16; write bfloat16 or float32")
            yield name, tensor


def _leaf(
    params: transformer.Params,
    path: Sequence[str],
    layer: int | None,
    config: ModelConfig,
    dtype: str,
) -> np.ndarray:
    """One parameter on the host, or one layer of it, as a checkpoint has it."""
    node = at(params, path[:-1])
    if layer is None:
        leaf, axes = node[path[-1]], {"embedding": (0,), "head": (1,)}.get(path[-1], ())
        sizes = tuple((axis, config.vocab_size) for axis in axes)
        return sharding.on_host(_cut(leaf, dtype, sizes))
    wanted = (path[-1], *lora.ADAPTER) if path[-1] == "weight" else (path[-1],)
    only = {name: node[name][layer : layer + 1] for name in wanted if name in node}
    return sharding.on_host(_cut(lora.merge(only, config)[path[-1]], dtype))[0]


@functools.partial(jax.jit, static_argnums=(1, 2))
def _cut(array: jax.Array, dtype: str, sizes: tuple[tuple[int, int], ...] = ()) -> jax.Array:
    """The array in another type, with axes cut to sizes: on its devices, to spare the host."""
    for axis, size in sizes:
        array = jax.lax.slice_in_dim(array, 0, size, axis=axis)
    return array.astype(dtype)


def layout(config: ModelConfig, dtype: str) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and type of each of the `tensors`, in their order."""
    shapes = _checkpoint_shapes(config)
    found = {}
    for rows in _by_tensor(FAMILIES[config.family], shapes):
        shape = rows[0].stored_shape(_layer_shape(rows[0], shapes))
        for layer in range(config.layers) if rows[0].stacked else (0,):
            found[rows[0].name.format(layer=layer)] = shape, np.dtype(dtype)
    return found


def _checkpoint_shapes(config: ModelConfig) -> transformer.Params:
    """Our parameters as checkpoints have them: without padding and adapters."""
    return transformer.param_shapes(dataclasses.replace(config, vocab_multiple=1, lora=None))


def _layer_shape(row: Row, shapes: transformer.Params) -> tuple[int, ...]:
    return at(shapes, row.path).shape[1 if row.stacked else 0 :]


def _by_tensor(family: Family, shapes: transformer.Params) -> list[list[Row]]:
    """The rows that apply to a model, those of one tensor together."""
    rows = [row for row in family.rows if has(shapes, row.path)]
    return [list(group) for _, group in itertools.groupby(rows, lambda row: row.name)]


def _plan(directory: str | Path, files: TensorFiles, config: ModelConfig) -> dict[Row, list[str]]:
    """The files' tensor names of each row of the table, in the order of the layers, all checked."""
    family, shapes = FAMILIES[config.family], _checkpoint_shapes(config)
    # A checkpoint of the body alone leaves out the name under which the whole model holds it.
    bare = not any(name.startswith(family.prefix) for name in files.names())
    found = {
        family.prefix + name if bare and name != _HEAD else name: name for name in files.names()
    }
    plan: dict[Row, list[str]] = {}
    problems: list[str] = []
    expected: set[str] = set()
    for rows in _by_tensor(family, shapes):
        layers = range(config.layers) if rows[0].stacked else (0,)
        names = [rows[0].name.format(layer=layer) for layer in layers]
        expected.update(names)
        shape = rows[0].stored_shape(_layer_shape(rows[0], shapes))
        for name in names:
            if name not in found:
                problems.append(f"missing: {name}")
            elif (stored := files.shape(found[name])) != shape:
                problems.append(f"shape: {name} is {stored}, the model's is {shape}")
        plan |= {row: [found.get(name, name) for name in names] for row in rows}
    # A tied head may be stored beside the embedding it equals.
    tied = {_HEAD} if config.tied_head else set()
    if config.tied_head and _HEAD in found and not problems:
        embedding = next(names[0] for row, names in plan.items() if row.path == ("embedding",))
        if not _alike(files, found[_HEAD], embedding):
            problems.append(
                f"{_HEAD} differs from the embedding, although config.json says that they are tied "
                "(tie_word_embeddings); set that to false there"
            )
    problems += [
        f"unexpected: {found[name]}"
        for name in sorted(set(found) - expected - tied)
        if not name.endswith(_DERIVED)
    ]
    if problems:
        listing = "\n  ".join(problems)
        raise CheckpointError(f"{directory} does not fit its config.json:\n  {listing}")
    return plan


def _alike(files: TensorFiles, one: str, other: str) -> bool:
    """Whether two tensors agree in shape and in samples of their rows."""
    if files.shape(one) != files.shape(other):
        return False
    rows = files.shape(one)[0]
    return all(
        np.array_equal(files.read(one, start, start + 1), files.read(other, start, start + 1))
        for start in range(0, rows, max(rows // 64, 1))
    )


def _read(
    row: Row,
    names: Sequence[str],
    files: TensorFiles,
    shape: tuple[int, ...],
    target: NamedSharding,
    dtype: str,
) -> jax.Array:
    """One parameter of ours, each shard of it filled on its device from the files."""
    placed = target.addressable_devices_indices_map(shape)
    shards: dict[tuple[tuple[int, int], ...], jax.Array] = {}
    buffers = []
    for device, index in placed.items():
        where = tuple(part.indices(size)[:2] for part, size in zip(index or (), shape, strict=True))
        if where in shards:
            buffers.append(jax.device_put(shards[where], device))
            continue
        sizes = tuple(stop - start for start, stop in where)
        with jax.default_device(device):
            shard = jnp.zeros(sizes, dtype)
            for layer, name in enumerate(names):
                layers, within = (where[:1], where[1:]) if row.stacked else (((0, 1),), where)
                if layers[0][0] <= layer < layers[0][1]:
                    inner = shape[1:] if row.stacked else shape
                    at_layer = (layer - layers[0][0],) if row.stacked else ()
                    shard = _fill(shard, at_layer, row, name, files, inner, within)
        shards[where] = shard
        buffers.append(shard)
    return jax.make_array_from_single_device_arrays(shape, target, buffers)


def _fill(
    shard: jax.Array,
    at_layer: tuple[int, ...],
    row: Row,
    name: str,
    files: TensorFiles,
    shape: tuple[int, ...],
    within: Sequence[tuple[int, int]],
) -> jax.Array:
    """Writes one tensor's part `within` our parameter (or its layer) of that shape into a shard."""
    first = row.input_axes  # Our first output axis, along which the checkpoint's rows run.
    stored, step = files.shape(name), row.step(shape)
    # A padded vocabulary has more steps than the checkpoint.
    start, stop = within[first][0], min(within[first][1], stored[0] // step)
    width = math.prod(stored[1:]) * files.dtype(name).itemsize
    many = max(_CHUNK_BYTES // (width * step), 1)
    others = [slice(*part) for axis, part in enumerate(within) if axis != first]
    turned, rest = others[:first], others[first:]
    for begin in range(start, stop, many):
        end = min(begin + many, stop)
        piece = row.unfolded(files.read(name, begin * step, end * step), shape)
        piece = piece[(slice(None), *rest, *turned)]
        corner = [0] * len(within)
        corner[first] = begin - within[first][0]
        offset = np.array([*at_layer, *corner], np.int32)
        # One piece after the other: those that wait for a device would pile up on the host.
        shard = _insert(shard, np.ascontiguousarray(piece), offset, first).block_until_ready()
    return shard


@functools.partial(jax.jit, donate_argnums=0, static_argnums=3)
def _insert(shard: jax.Array, piece: jax.Array, corner: jax.Array, inputs: int) -> jax.Array:
    """Puts a piece, its axes with outputs first, into the shard at the corner."""
    outputs = piece.ndim - inputs
    piece = piece.transpose(*range(outputs, piece.ndim), *range(outputs)).astype(shard.dtype)
    piece = piece.reshape((1,) * (shard.ndim - piece.ndim) + piece.shape)
    return jax.lax.dynamic_update_slice(shard, piece, tuple(corner))


def at(tree: Any, path: Sequence[str]) -> Any:
    """The node of a nested dict at a path."""
    return functools.reduce(lambda node, name: node[name], path, tree)


def has(tree: Any, path: Sequence[str]) -> bool:
    """Whether a nested dict has a node at a path."""
    return not path or (path[0] in tree and has(tree[path[0]], path[1:]))


def put(tree: dict[str, Any], path: Sequence[str], leaf: Any) -> None:
    """Sets the node of a nested dict at a path, which is made where it is not there."""
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = leaf
