"""Tables between a family's tensor names and the decoder's parameters."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
      name: the checkpoint's tensor name; `{layer}` stands for the number of the block.
      path: our parameter, without the layer axis. Rows whose parameter a model lacks do not apply.
      input_axes: how many leading axes of ours are a matrix' input. The checkpoint stores
        `[outputs, inputs]`, each flattened; we store inputs first. 0: a vector of outputs.
      part: for one of several parameters that share a tensor, its number and how many there are:
        they alternate within each head, `[N, parts, H]`.
      alike: whether the checkpoint stores it with our very axes, as it does the embedding.
    """

    name: str
    path: tuple[str, ...]
    input_axes: int = 0
    part: tuple[int, int] | None = None
    alike: bool = False

    @property
    def stacked(self) -> bool:
        """Whether one tensor is one layer of our parameter."""
        return "{layer}" in self.name

    @property
    def parts(self) -> int:
        """How many parameters share the tensor."""
        return self.part[1] if self.part else 1

    def step(self, shape: Sequence[int]) -> int:
        """Rows of the checkpoint's tensor for one step along our first output axis."""
        return 1 if self.alike else math.prod(shape[self.input_axes + 1 :]) * self.parts

    def stored_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The checkpoint's shape of a tensor whose shape in our parameter is `shape`."""
        if self.alike:
            return tuple(shape)
        outputs = (shape[self.input_axes] * self.step(shape),)
        return (*outputs, math.prod(shape[: self.input_axes])) if self.input_axes else outputs

    def unfolded(self, stored: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """A view of the checkpoint's tensor, or of some of its rows, with our axes, outputs first.

        Args:
          stored: the tensor, or a run of its rows that makes whole steps of our first output axis.
          shape: of our whole parameter, without the layer axis.
        """
        inputs, outputs = shape[: self.input_axes], shape[self.input_axes :]
        if self.part:
            return stored.reshape(-1, self.parts, *outputs[1:], *inputs)[:, self.part[0]]
        return stored.reshape(-1, *outputs[1:], *inputs)

    def stored(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """The checkpoint's tensor, from our parameters that share it in order of their parts."""
        shape, first = arrays[0].shape, self.input_axes
        turned = [array.transpose(*range(first, len(shape)), *range(first)) for array in arrays]
        whole = np.stack(turned, axis=1) if self.part else turned[0]
        return np.ascontiguousarray(whole).reshape(self.stored_shape(shape))


def _norm(name: str, *path: str) -> tuple[Row, Row]:
    return Row(f"{name}.weight", (*path, "scale")), Row(f"{name}.bias", (*path, "bias"))


def _linear(name: str, *path: str, input_axes: int = 1) -> tuple[Row, Row]:
    return (
        Row(f"{name}.weight", (*path, "weight"), input_axes),
        Row(f"{name}.bias", (*path, "bias")),
    )


_LAYER = "model.layers.{layer}."
_SELF, _MLP = _LAYER + "self_attn.", _LAYER + "mlp."
_ATTENTION, _FFN = ("blocks", "attention"), ("blocks", "ffn")

_LLAMA_LAYERS: tuple[Row, ...] = (
    Row("model.embed_tokens.weight", ("embedding",), alike=True),
    *_norm(_LAYER + "input_layernorm", "blocks", "attention_norm"),
    *_linear(_SELF + "q_proj", *_ATTENTION, "query"),
    *_linear(_SELF + "k_proj", *_ATTENTION, "key"),
    *_linear(_SELF + "v_proj", *_ATTENTION, "value"),
    *_norm(_SELF + "q_norm", *_ATTENTION, "query_norm"),
    *_norm(_SELF + "k_norm", *_ATTENTION, "key_norm"),
    *_linear(_SELF + "o_proj", *_ATTENTION, "output", input_axes=2),
    *_linear(_MLP + "gate_proj", *_FFN, "gate"),
    *_linear(_MLP + "up_proj", *_FFN, "up"),
    *_linear(_MLP + "down_proj", *_FFN, "down"),
    *_norm("model.norm", "final_norm"),
    Row("lm_head.weight", ("head",), input_axes=1),
)

LLAMA: tuple[Row, ...] = (
    *_LLAMA_LAYERS,
    *_norm(_LAYER + "post_attention_layernorm", "blocks", "ffn_norm"),
)
"""Llama, Mistral, Qwen and Granite."""

GEMMA: tuple[Row, ...] = (
    *_LLAMA_LAYERS,
    *_norm(_LAYER + "post_attention_layernorm", "blocks", "attention_post_norm"),
    *_norm(_LAYER + "pre_feedforward_layernorm", "blocks", "ffn_norm"),
    *_norm(_LAYER + "post_feedforward_layernorm", "blocks", "ffn_post_norm"),
)
"""Gemma 2 and 3."""

_BLOCK = "transformer.h.{layer}."
_FUSED = _BLOCK + "self_attention.query_key_value."
_QKV = ("query", "key", "value")

BLOOM: tuple[Row, ...] = (
    Row("transformer.word_embeddings.weight", ("embedding",), alike=True),
    *_norm("transformer.word_embeddings_layernorm", "embedding_norm"),
    *_norm(_BLOCK + "input_layernorm", "blocks", "attention_norm"),
    *(
        Row(_FUSED + "weight", (*_ATTENTION, name, "weight"), 1, (number, len(_QKV)))
        for number, name in enumerate(_QKV)
    ),
    *(
        Row(_FUSED + "bias", (*_ATTENTION, name, "bias"), 0, (number, len(_QKV)))
        for number, name in enumerate(_QKV)
    ),
    *_linear(_BLOCK + "self_attention.dense", *_ATTENTION, "output", input_axes=2),
    *_norm(_BLOCK + "post_attention_layernorm", "blocks", "ffn_norm"),
    *_linear(_BLOCK + "mlp.dense_h_to_4h", *_FFN, "up"),
    *_linear(_BLOCK + "mlp.dense_4h_to_h", *_FFN, "down"),
    *_norm("transformer.ln_f", "final_norm"),
    Row("lm_head.weight", ("head",), input_axes=1),
)
"""BLOOM, whose queries, keys and values share a tensor."""
