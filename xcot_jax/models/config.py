"""Sizes and options of a decoder: all that makes one model family differ from another."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal

import jax
import numpy as np

from xcot_jax.errors import InputError
from xcot_jax.models.attention import AttentionKernel
from xcot_jax.models.attention_rule import SAVED, AttentionRule
from xcot_jax.models.logits import LogitRule
from xcot_jax.models.rotary import Rope

LayerKind = Literal["global", "local"]
"""Whether a layer's attention reaches as far as the text, or only through the window."""

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "silu": jax.nn.silu,
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "gelu_pytorch_tanh": functools.partial(jax.nn.gelu, approximate=True),
}
"""Nonlinearities of the feed-forward layer, by the names of Hugging Face's `hidden_act`."""

REMAT_POLICIES: dict[str, Callable[..., bool] | None] = {
    "none": None,
    "dots": jax.checkpoint_policies.save_from_both_policies(
        jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
        jax.checkpoint_policies.save_only_these_names(SAVED),
    ),
    "full": jax.checkpoint_policies.nothing_saveable,
}
"""What the backward pass may keep of a block; None keeps all."""

SIZES = ("width", "layers", "heads", "kv_heads", "head_width", "ffn_width")
"""The fields that settings may set one by one."""


class ModelConfigError(InputError):
    """A model that cannot be built, or a checkpoint of a kind the decoder does not have."""


@dataclasses.dataclass(frozen=True)
class Lora:
    """Low-rank adapters beside frozen matrices (Hu et al., arXiv 2106.09685).

    Attributes:
      rank: inner width r of every adapter.
      alpha: outputs of an adapter are multiplied by `alpha / rank`.
      targets: matrices of a block that get one, of `MATRICES`.
    """

    rank: int
    alpha: float
    targets: tuple[str, ...]

    @property
    def scale(self) -> float:
        """What an adapter's output is multiplied by."""
        return self.alpha / self.rank


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A decoder-only transformer. Defaults are a Llama's; families change what differs.

    Attributes:
      vocab_size: tokens (V).
      width: width of the residual stream (D).
      layers: number of blocks (L).
      heads: query heads (N), a multiple of `kv_heads`.
      kv_heads: key/value heads (K).
      head_width: width of a head (H), even.
      ffn_width: width of the feed-forward layer (F).
      max_positions: longest text the model is made for; told to those who load an export.
      family: row of `families.FAMILIES` that names the weights in checkpoints.
      rope: rotary positions; without them, ALiBi.
      local_rope: rotary positions of local layers, if others than `rope`.
      window: tokens a local layer's query sees, itself included.
      pattern: kinds of the first layers, repeated to the last.
      attention_scale: factor of attention scores; 0: `head_width ** -0.5`.
      attention_softcap: soft cap of attention scores; 0: none.
      logit_scale, logit_softcap: factor, then soft cap, of the head's outputs; 0: no cap.
      embedding_scale: factor of embeddings as they enter the residual stream.
      residual_scale: factor of what blocks add to the residual stream.
      norm: "rms" (no mean, no bias) or "layer".
      norm_eps: added to the variance in norms.
      norm_offset: added to the scales of norms; 1 where they are stored around zero.
      embedding_norm: whether embeddings are normed before the first block.
      post_norms: whether outputs of attention and feed-forward layer are normed, too.
      qk_norm: whether queries and keys are normed head by head, before rotation.
      qkv_bias, output_bias, ffn_bias: which products have a bias.
      gated: whether the feed-forward layer is `(f(x gate) * (x up)) down` or `f(x up) down`.
      activation: its nonlinearity f, a row of `ACTIVATIONS`.
      tied_head: whether the output head is the embedding, transposed.
      vocab_multiple: rows of embedding and head are padded to a multiple of this, so that they
        divide over a mesh; the added ones never get probability.
      compute_dtype: type of activations and matrix products.
      remat: what the backward pass recomputes, a row of `REMAT_POLICIES`: nothing, all but matrix
        products with weights and attention, or whole blocks.
      attention_kernel: form of the attention (`attention.attention`).
      lora: adapters, if the matrices themselves are frozen.

    Raises:
      ModelConfigError: for sizes that do not fit together.
    """

    vocab_size: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    ffn_width: int
    max_positions: int = 4_096
    family: str = "llama"
    rope: Rope | None = Rope()
    local_rope: Rope | None = None
    window: int = 0
    pattern: tuple[LayerKind, ...] = ("global",)
    attention_scale: float = 0.0
    attention_softcap: float = 0.0
    logit_scale: float = 1.0
    logit_softcap: float = 0.0
    embedding_scale: float = 1.0
    residual_scale: float = 1.0
    norm: Literal["rms", "layer"] = "rms"
    norm_eps: float = 1e-5
    norm_offset: float = 0.0
    embedding_norm: bool = False
    post_norms: bool = False
    qk_norm: bool = False
    qkv_bias: bool = False
    output_bias: bool = False
    ffn_bias: bool = False
    gated: bool = True
    activation: str = "silu"
    tied_head: bool = False
    vocab_multiple: int = 1
    compute_dtype: str = "bfloat16"
    remat: str = "none"
    attention_kernel: AttentionKernel = "auto"
    lora: Lora | None = None

    def __post_init__(self) -> None:
        for name in ("vocab_size", "vocab_multiple", *SIZES):
            if getattr(self, name) < 1:
                raise ModelConfigError(f"model.{name} must be at least 1: {getattr(self, name)}")
        for name, table in (("activation", ACTIVATIONS), ("remat", REMAT_POLICIES)):
            if getattr(self, name) not in table:
                raise ModelConfigError(
                    f"model.{name} must be one of {', '.join(table)}: {getattr(self, name)!r}"
                )
        if self.heads % self.kv_heads:
            raise ModelConfigError(
                f"model.heads ({self.heads}) is not a multiple of model.kv_heads "
                f"({self.kv_heads}); each key/value head serves equally many query heads"
            )
        if self.rope and self.head_width % 2:
            raise ModelConfigError(
                f"model.head_width ({self.head_width}) must be even: rotary positions turn pairs"
            )
        if self.lora and not set(self.lora.targets) & set(self.matrices):
            raise ModelConfigError(
                f"model.lora.targets={','.join(self.lora.targets)}: this model has none of these "
                f"matrices; it has {', '.join(self.matrices)}"
            )
        if "local" in self.pattern and self.window < 1:
            raise ModelConfigError("model.window must be at least 1 where layers are local")

    @property
    def dtype(self) -> np.dtype:
        """The compute type as a dtype."""
        return np.dtype(self.compute_dtype)

    @property
    def vocab_rows(self) -> int:
        """Rows of the embedding and columns of the head: the vocabulary and its padding."""
        return -(-self.vocab_size // self.vocab_multiple) * self.vocab_multiple

    @property
    def kinds(self) -> tuple[LayerKind, ...]:
        """The kind of each layer."""
        return tuple(self.pattern[layer % len(self.pattern)] for layer in range(self.layers))

    def attention_rule(self, kind: LayerKind) -> AttentionRule:
        """How a layer of this kind makes its scores."""
        return AttentionRule(
            scale=self.attention_scale or self.head_width**-0.5,
            softcap=self.attention_softcap,
            window=self.window if kind == "local" else 0,
            alibi=self.rope is None,
        )

    def rope_of(self, kind: LayerKind) -> Rope | None:
        """The rotary positions of a layer of this kind, if the model has any."""
        return self.local_rope if kind == "local" and self.local_rope else self.rope

    @property
    def logit_rule(self) -> LogitRule:
        """From the head's outputs to logits."""
        return LogitRule(self.vocab_size, scale=self.logit_scale, softcap=self.logit_softcap)

    @property
    def matrices(self) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
        """Inputs and outputs of a block's matrices, which are those an adapter may be put to."""
        width, head, ffn = (self.width,), self.head_width, (self.ffn_width,)
        gate = {"gate": (width, ffn)} if self.gated else {}
        return {
            "query": (width, (self.heads, head)),
            "key": (width, (self.kv_heads, head)),
            "value": (width, (self.kv_heads, head)),
            "output": ((self.heads, head), width),
            **gate,
            "up": (width, ffn),
            "down": (ffn, width),
        }
