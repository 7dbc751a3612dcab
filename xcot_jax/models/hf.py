"""Hugging Face checkpoints: which tensor goes where, and their way onto the mesh."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes  # noqa: F401  registers bfloat16 with numpy, which safetensors asks for by name
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from safetensors import SafetensorError, safe_open

from xcot_jax import sharding
from xcot_jax.errors import InputError
from xcot_jax.models import transformer
from xcot_jax.models.config import ModelConfig


class CheckpointError(InputError):
    """A checkpoint directory that cannot be read, or whose tensors do not fit the model."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table between a checkpoint's names and ours.

    Attributes:
      name: the checkpoint's tensor name; `{layer}` stands for the number of the block.
      path: our parameter, without the layer axis.
      input_axes: for a matrix, how many leading axes of ours are its input. The checkpoint stores
        `[outputs, inputs]`, each flattened; we store inputs first. 0: stored alike.
    """

    name: str
    path: tuple[str, ...]
    input_axes: int = 0

    @property
    def stacked(self) -> bool:
        """Whether one tensor is one layer of our parameter."""
        return "{layer}" in self.name

    def stored_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The checkpoint's shape of a tensor whose shape in our parameter is `shape`."""
        if not self.input_axes:
            return tuple(shape)
        return math.prod(shape[self.input_axes :]), math.prod(shape[: self.input_axes])

    def to_ours(self, tensor: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """A checkpoint's tensor in our layout."""
        return (tensor.T if self.input_axes else tensor).reshape(shape)

    def to_stored(self, array: np.ndarray) -> np.ndarray:
        """Our array in the checkpoint's layout; undoes `to_ours`."""
        if not self.input_axes:
            return array
        return array.reshape(self.stored_shape(array.shape)[::-1]).T


_LAYER = "model.layers.{layer}."

LLAMA: tuple[Row, ...] = (
    Row("model.embed_tokens.weight", ("embedding",)),
    Row(_LAYER + "input_layernorm.weight", ("blocks", "attention_norm", "scale")),
    Row(_LAYER + "self_attn.q_proj.weight", ("blocks", "attention", "query"), input_axes=1),
    Row(_LAYER + "self_attn.k_proj.weight", ("blocks", "attention", "key"), input_axes=1),
    Row(_LAYER + "self_attn.v_proj.weight", ("blocks", "attention", "value"), input_axes=1),
    Row(_LAYER + "self_attn.o_proj.weight", ("blocks", "attention", "output"), input_axes=2),
    Row(_LAYER + "post_attention_layernorm.weight", ("blocks", "ffn_norm", "scale")),
    Row(_LAYER + "mlp.gate_proj.weight", ("blocks", "ffn", "gate"), input_axes=1),
    Row(_LAYER + "mlp.up_proj.weight", ("blocks", "ffn", "up"), input_axes=1),
    Row(_LAYER + "mlp.down_proj.weight", ("blocks", "ffn", "down"), input_axes=1),
    Row("model.norm.weight", ("final_norm", "scale")),
    Row("lm_head.weight", ("head",), input_axes=1),
)

_DERIVED = re.compile(r".*\.rotary_emb\.inv_freq")
"""Tensors that some checkpoints carry although they follow from the configuration."""

_INDEX, _SINGLE = "model.safetensors.index.json", "model.safetensors"


def read_config(directory: str | Path) -> dict[str, Any]:
    """The checkpoint's `config.json`.

    Raises:
      CheckpointError: when it is absent or not JSON.
    """
    path = Path(directory) / "config.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} does not exist; model.init_from takes a Hugging Face model directory"
        ) from None
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from error


def load(directory: str | Path, config: ModelConfig, mesh: Mesh) -> transformer.Params:
    """Reads a checkpoint's weights into their shards, one tensor at a time, as fp32.

    Args:
      directory: holds `model.safetensors`, or its shards with `model.safetensors.index.json`.
      config: the decoder (`models.config.from_hf`).
      mesh: where the parameters live.

    Returns:
      parameters for `transformer.apply`.

    Raises:
      CheckpointError: for missing files, broken files, and one listing of all tensors that are
        missing, unexpected, or of another shape; before any weight is read.
    """
    shapes, axes = transformer.param_shapes(config), transformer.logical_axes(config)
    with contextlib.ExitStack() as stack:
        files = _open_tensors(Path(directory), stack)
        plan = _plan(directory, files, shapes, config)
        params: transformer.Params = {}
        for row, names in plan.items():
            shape, leaf_axes = _at(shapes, row.path).shape, _at(axes, row.path)
            target = sharding.logical_to_sharding(mesh, leaf_axes, shape)
            _put(params, row.path, _read(row, names, files, shape, target))
    return params


def _open_tensors(directory: Path, stack: contextlib.ExitStack) -> dict[str, Any]:
    """Tensor name -> the open file that holds it; nothing of the tensors is read."""
    index = directory / _INDEX
    if index.exists():
        placed: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        shards = sorted(set(placed.values()))
    elif (directory / _SINGLE).exists():
        shards = [_SINGLE]
    else:
        raise CheckpointError(f"{directory} holds neither {_SINGLE} nor {_INDEX}")
    absent = [shard for shard in shards if not (directory / shard).exists()]
    if absent:
        raise CheckpointError(f"{directory} lacks {', '.join(absent)}, which {_INDEX} names")
    files: dict[str, Any] = {}
    for shard in shards:
        try:
            file = stack.enter_context(safe_open(directory / shard, framework="np"))
        except SafetensorError as error:
            raise CheckpointError(
                f"{directory / shard} is broken ({error}); copy or download it again"
            ) from error
        files.update(dict.fromkeys(file.keys(), file))
    return files


def _plan(
    directory: str | Path, files: Mapping[str, Any], shapes: transformer.Params, config: ModelConfig
) -> dict[Row, list[str]]:
    """Tensor names of each row of the table, in the order of the layers, all checked."""
    plan: dict[Row, list[str]] = {}
    problems: list[str] = []
    for row in LLAMA:
        if config.tied_head and row.path == ("head",):
            continue
        layers = range(config.layers) if row.stacked else (0,)
        plan[row] = [row.name.format(layer=layer) for layer in layers]
        shape = _at(shapes, row.path).shape[1 if row.stacked else 0 :]
        for name in plan[row]:
            if name not in files:
                problems.append(f"missing: {name}")
                continue
            found = tuple(files[name].get_slice(name).get_shape())
            expected = row.stored_shape(shape)
            if found != expected:
                problems.append(f"shape: {name} is {found}, the model's is {expected}")
    expected_names = {name for names in plan.values() for name in names}
    # A tied head may be stored beside the embedding it equals.
    tied = {"lm_head.weight"} if config.tied_head else set()
    problems += [
        f"unexpected: {name}"
        for name in sorted(set(files) - expected_names - tied)
        if not _DERIVED.fullmatch(name)
    ]
    if problems:
        listing = "\n  ".join(problems)
        raise CheckpointError(f"{directory} does not fit its config.json:\n  {listing}")
    return plan


def _read(
    row: Row,
    names: Sequence[str],
    files: Mapping[str, Any],
    shape: tuple[int, ...],
    target: NamedSharding,
) -> jax.Array:
    """One parameter of ours from its tensors; the host holds one of them at a time."""
    if not row.stacked:
        return _place(row, files[names[0]].get_tensor(names[0]), shape, target)
    layer_target = NamedSharding(target.mesh, PartitionSpec(*target.spec[1:]))
    stack = jax.jit(functools.partial(jnp.zeros, shape, jnp.float32), out_shardings=target)()
    for layer, name in enumerate(names):
        tensor = _place(row, files[name].get_tensor(name), shape[1:], layer_target)
        stack = _set_layer(stack, tensor, jnp.int32(layer))
    return stack


def _place(row: Row, tensor: np.ndarray, shape: Sequence[int], target: NamedSharding) -> jax.Array:
    ours = row.to_ours(tensor, shape)
    return jax.make_array_from_callback(
        tuple(shape), target, lambda index: np.ascontiguousarray(ours[index], np.float32)
    )


@functools.partial(jax.jit, donate_argnums=0)
def _set_layer(stack: jax.Array, tensor: jax.Array, layer: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_index_in_dim(stack, tensor, layer, 0)


def _at(tree: Any, path: Sequence[str]) -> Any:
    return functools.reduce(lambda node, name: node[name], path, tree)


def _put(tree: dict[str, Any], path: Sequence[str], leaf: Any) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = leaf
