"""Sizes and options of a decoder, named presets, and its parameter and FLOP counts."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import jax
import numpy as np

from xcot_jax.errors import InputError
from xcot_jax.settings import ModelSettings

AttentionKernel = Literal["auto", "plain", "blocks"]

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "silu": jax.nn.silu,
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "gelu_pytorch_tanh": functools.partial(jax.nn.gelu, approximate=True),
}
"""Nonlinearities of the feed-forward gate, by the names of Hugging Face's `hidden_act`."""

REMAT_POLICIES: dict[str, Callable[..., bool] | None] = {
    "none": None,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "full": jax.checkpoint_policies.nothing_saveable,
}
"""What the backward pass may keep of a block; None keeps all."""


_SIZES = ("width", "layers", "heads", "kv_heads", "head_width", "ffn_width")


class ModelConfigError(InputError):
    """A model that cannot be built, or a checkpoint of a kind the decoder does not have."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A Llama-type decoder: rotary positions, RMSNorm, gated feed-forward, grouped-query attention.

    Attributes:
      vocab_size: rows of the embedding (V).
      width: width of the residual stream (D).
      layers: number of blocks (L).
      heads: query heads (N), a multiple of `kv_heads`.
      kv_heads: key/value heads (K).
      head_width: width of a head (H), even.
      ffn_width: width of the gated feed-forward layer (F).
      rope_theta: base of the rotary angles' geometric series.
      norm_eps: added to the mean square in RMSNorm.
      tied_head: whether the output head is the embedding, transposed.
      activation: nonlinearity of the feed-forward gate, a row of `ACTIVATIONS`.
      compute_dtype: type of activations and matrix products; parameters are always fp32.
      remat: what the backward pass recomputes, a row of `REMAT_POLICIES`: nothing, all but matrix
        products with weights, or whole blocks.
      attention_kernel: form of the attention; "auto" chooses by JAX's default backend.

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
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-5
    tied_head: bool = False
    activation: str = "silu"
    compute_dtype: str = "bfloat16"
    remat: str = "none"
    attention_kernel: AttentionKernel = "auto"

    def __post_init__(self) -> None:
        for name in ("vocab_size", *_SIZES):
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
        if self.head_width % 2:
            raise ModelConfigError(
                f"model.head_width ({self.head_width}) must be even: rotary positions turn pairs"
            )

    @property
    def dtype(self) -> np.dtype:
        """The compute type as a dtype."""
        return np.dtype(self.compute_dtype)


PRESETS: dict[str, ModelConfig] = {
    "tiny": ModelConfig(
        vocab_size=4_000, width=192, layers=4, heads=6, kv_heads=6, head_width=32, ffn_width=512
    ),
    "llama_60m": ModelConfig(
        vocab_size=32_000, width=512, layers=8, heads=8, kv_heads=8, head_width=64, ffn_width=1_376
    ),
    "llama2_7b": ModelConfig(
        vocab_size=32_000,
        width=4_096,
        layers=32,
        heads=32,
        kv_heads=32,
        head_width=128,
        ffn_width=11_008,
    ),
    "llama2_13b": ModelConfig(
        vocab_size=32_000,
        width=5_120,
        layers=40,
        heads=40,
        kv_heads=40,
        head_width=128,
        ffn_width=13_824,
    ),
    "llama3_8b": ModelConfig(
        vocab_size=128_256,
        width=4_096,
        layers=32,
        heads=32,
        kv_heads=8,
        head_width=128,
        ffn_width=14_336,
        rope_theta=500_000.0,
    ),
}
"""Sizes by name; the vocabulary is the published one, and settings or the tokenizer replace it."""


def from_settings(
    settings: ModelSettings,
    vocab_size: int,
    hf_config: Mapping[str, Any] | None = None,
) -> ModelConfig:
    """The decoder that settings, a preset or a checkpoint describe.

    Args:
      settings: the run's model section. Sizes left at 0 come from the checkpoint or the preset.
      vocab_size: the tokenizer's vocabulary.
      hf_config: the checkpoint's `config.json`, where training starts from one.

    Raises:
      ModelConfigError: for missing sizes, sizes that do not fit together, an unknown preset,
        settings that contradict the checkpoint, or a model vocabulary below the tokenizer's.
    """
    if hf_config is not None:
        config = _from_checkpoint(settings, hf_config)
    elif settings.preset:
        config = _from_preset(settings, vocab_size)
    else:
        config = _from_sizes(settings, vocab_size)
    if config.vocab_size < vocab_size:
        raise ModelConfigError(
            f"the tokenizer has {vocab_size} tokens but the model only {config.vocab_size}; raise "
            "model.vocab_size, or use the tokenizer that belongs to the checkpoint"
        )
    return config


def _from_checkpoint(settings: ModelSettings, hf_config: Mapping[str, Any]) -> ModelConfig:
    config = from_hf(hf_config, compute_dtype=settings.compute_dtype, remat=settings.remat)
    if settings.preset:
        raise ModelConfigError(
            f"model.preset={settings.preset!r} and model.init_from={settings.init_from!r} both "
            "give the sizes; keep one"
        )
    for name in ("vocab_size", *_SIZES):
        asked, found = getattr(settings, name), getattr(config, name)
        if asked and asked != found:
            raise ModelConfigError(
                f"model.{name}={asked} contradicts the checkpoint {settings.init_from!r}, where it "
                f"is {found}; leave it at 0"
            )
    if settings.tied_head and not config.tied_head:
        raise ModelConfigError(
            f"model.tied_head contradicts the checkpoint {settings.init_from!r}, which has a head "
            "of its own; leave it False"
        )
    return config


def _from_preset(settings: ModelSettings, vocab_size: int) -> ModelConfig:
    if settings.preset not in PRESETS:
        raise ModelConfigError(
            f"model.preset={settings.preset!r} is not known; there are {', '.join(PRESETS)}"
        )
    preset = PRESETS[settings.preset]
    changes = {name: getattr(settings, name) for name in _SIZES if getattr(settings, name)}
    return dataclasses.replace(
        preset,
        **changes,
        vocab_size=settings.vocab_size or vocab_size,
        tied_head=settings.tied_head or preset.tied_head,
        compute_dtype=settings.compute_dtype,
        remat=settings.remat,
    )


def _from_sizes(settings: ModelSettings, vocab_size: int) -> ModelConfig:
    missing = [f"model.{n}" for n in ("width", "layers", "heads") if not getattr(settings, n)]
    if missing:
        raise ModelConfigError(
            f"{', '.join(missing)} not set; give the sizes, name a model.preset "
            f"({', '.join(PRESETS)}), or start from a checkpoint with model.init_from"
        )
    if not settings.head_width and settings.width % settings.heads:
        raise ModelConfigError(
            f"model.width ({settings.width}) is not a multiple of model.heads ({settings.heads}); "
            "set model.head_width"
        )
    return ModelConfig(
        vocab_size=settings.vocab_size or vocab_size,
        width=settings.width,
        layers=settings.layers,
        heads=settings.heads,
        kv_heads=settings.kv_heads or settings.heads,
        head_width=settings.head_width or settings.width // settings.heads,
        ffn_width=settings.ffn_width or _default_ffn_width(settings.width),
        tied_head=settings.tied_head,
        compute_dtype=settings.compute_dtype,
        remat=settings.remat,
    )


_UNSUPPORTED = {
    "attention_bias": "biases of the attention projections",
    "mlp_bias": "biases of the feed-forward layer",
    "quantization_config": "quantised weights",
}
"""Keys of a Llama `config.json` that, when set, ask for what the decoder does not have."""


def from_hf(
    hf_config: Mapping[str, Any], *, compute_dtype: str = "bfloat16", remat: str = "none"
) -> ModelConfig:
    """The decoder of a Hugging Face `config.json`.

    Raises:
      ModelConfigError: for another architecture than `LlamaForCausalLM`, for features the decoder
        does not have, all listed at once, and for missing sizes.
    """
    architectures = hf_config.get("architectures") or ["(none named)"]
    if "LlamaForCausalLM" not in architectures:
        raise ModelConfigError(
            f"config.json: architecture {', '.join(architectures)} is not supported; "
            "LlamaForCausalLM is"
        )
    # transformers 5 writes `rope_parameters`; earlier versions, `rope_theta` and `rope_scaling`.
    rope = hf_config.get("rope_parameters") or hf_config.get("rope_scaling") or {}
    problems = [f"{key} ({what})" for key, what in _UNSUPPORTED.items() if hf_config.get(key)]
    if (rope_type := rope.get("rope_type", rope.get("type", "default"))) != "default":
        problems.append(f"rope_type {rope_type!r} (scaled rotary positions)")
    if (activation := hf_config.get("hidden_act", "silu")) not in ACTIVATIONS:
        problems.append(f"hidden_act {activation!r} (known: {', '.join(ACTIVATIONS)})")
    if problems:
        raise ModelConfigError(f"config.json asks for unsupported features: {'; '.join(problems)}")
    try:
        heads, width = hf_config["num_attention_heads"], hf_config["hidden_size"]
        return ModelConfig(
            vocab_size=hf_config["vocab_size"],
            width=width,
            layers=hf_config["num_hidden_layers"],
            heads=heads,
            kv_heads=hf_config.get("num_key_value_heads") or heads,
            head_width=hf_config.get("head_dim") or width // heads,
            ffn_width=hf_config["intermediate_size"],
            rope_theta=float(rope.get("rope_theta", hf_config.get("rope_theta", 10_000.0))),
            norm_eps=float(hf_config.get("rms_norm_eps", 1e-6)),
            tied_head=bool(hf_config.get("tie_word_embeddings", False)),
            activation=activation,
            compute_dtype=compute_dtype,
            remat=remat,
        )
    except KeyError as error:
        raise ModelConfigError(
            f"config.json lacks {error}; it is not a whole checkpoint"
        ) from error


def _default_ffn_width(width: int) -> int:
    """8/3 of the width, rounded up to a multiple of 32."""
    return -(-8 * width // (3 * 32)) * 32


def _block_matrices(config: ModelConfig) -> int:
    """Weights of one block's matrix products."""
    heads = config.head_width * (2 * config.heads + 2 * config.kv_heads)
    return config.width * (heads + 3 * config.ffn_width)


def parameter_count(config: ModelConfig) -> int:
    """All parameters; a tied head counts once."""
    embeddings = config.vocab_size * config.width * (1 if config.tied_head else 2)
    block = _block_matrices(config) + 2 * config.width
    return embeddings + config.layers * block + config.width


def causal_pairs(lengths: Iterable[int]) -> int:
    """Query-key pairs of causal attention in segments of these lengths: sum of n (n + 1) / 2."""
    return sum(n * (n + 1) // 2 for n in lengths)


def forward_flops(config: ModelConfig, *, tokens: int, attended_pairs: int, head_slots: int) -> int:
    """Floating-point operations of a forward pass that the model cannot do without.

    A product of `[m, k]` and `[k, n]` counts `2 m k n`. With every matrix of a block used once a
    token, scores and weighted values once an attended pair, and the head only where a loss is
    taken:

        2 tokens L D (2 N H + 2 K H + 3 F)  +  4 attended_pairs L N H  +  2 head_slots D V

    Norms, rotary angles and softmax are left out, as is usual. The backward pass takes twice the
    forward one, so a training step counts three times this; recomputation is not counted.

    Args:
      config: the decoder.
      tokens: tokens that pass through the blocks; leave padding out for useful FLOPs.
      attended_pairs: query-key pairs under the causal and segment mask (`causal_pairs`), which is
        about half of the squared length.
      head_slots: positions at which the head is evaluated.
    """
    blocks = 2 * tokens * config.layers * _block_matrices(config)
    attention = 4 * attended_pairs * config.layers * config.heads * config.head_width
    head = 2 * head_slots * config.width * config.vocab_size
    return blocks + attention + head
