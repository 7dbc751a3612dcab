"""Named decoders: the published sizes of the models people start from, and two small ones."""

from __future__ import annotations

import dataclasses

from xcot_jax.models.config import LayerKind, ModelConfig
from xcot_jax.models.rotary import Rope

_ALTERNATE: tuple[LayerKind, ...] = ("local", "global")
_LOCAL_5_OF_6: tuple[LayerKind, ...] = ("local",) * 5 + ("global",)


def _model(
    vocab_size: int,
    width: int,
    layers: int,
    heads: int,
    kv_heads: int,
    head_width: int,
    ffn_width: int,
    **more: object,
) -> ModelConfig:
    return ModelConfig(
        vocab_size=vocab_size,
        width=width,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_width=head_width,
        ffn_width=ffn_width,
        **more,  # type: ignore[arg-type]
    )


def _qwen(family: str, base: ModelConfig, tied_head: bool) -> ModelConfig:
    return dataclasses.replace(
        base,
        family=family,
        rope=Rope(theta=1e6),
        norm_eps=1e-6,
        max_positions=32_768 if family == "qwen2" else 40_960,
        qkv_bias=family == "qwen2",
        qk_norm=family == "qwen3",
        tied_head=tied_head,
    )


def _gemma(family: str, base: ModelConfig) -> ModelConfig:
    newer = family == "gemma3_text"
    return dataclasses.replace(
        base,
        family=family,
        max_positions=32_768 if newer else 8_192,
        rope=Rope(theta=1e6 if newer else 1e4),
        local_rope=Rope(theta=1e4) if newer else None,
        window=512 if newer else 4_096,
        pattern=_LOCAL_5_OF_6 if newer else _ALTERNATE,
        attention_scale=256**-0.5,
        attention_softcap=0.0 if newer else 50.0,
        logit_softcap=0.0 if newer else 30.0,
        embedding_scale=float(base.width) ** 0.5,
        norm_eps=1e-6,
        norm_offset=1.0,
        post_norms=True,
        qk_norm=newer,
        activation="gelu_pytorch_tanh",
        tied_head=True,
    )


def _bloom(width: int, layers: int, heads: int) -> ModelConfig:
    return _model(
        250_880,
        width,
        layers,
        heads,
        heads,
        width // heads,
        4 * width,
        family="bloom",
        max_positions=2_048,
        rope=None,
        norm="layer",
        embedding_norm=True,
        qkv_bias=True,
        output_bias=True,
        ffn_bias=True,
        gated=False,
        activation="gelu_pytorch_tanh",
        tied_head=True,
    )


_LLAMA3 = Rope(theta=500_000.0)
_LLAMA3_2 = Rope(theta=500_000.0, kind="llama3", factor=32.0)

PRESETS: dict[str, ModelConfig] = {
    "tiny": _model(4_000, 192, 4, 6, 6, 32, 512),
    "llama_60m": _model(32_000, 512, 8, 8, 8, 64, 1_376),
    "llama2_7b": _model(32_000, 4_096, 32, 32, 32, 128, 11_008),
    "llama2_13b": _model(32_000, 5_120, 40, 40, 40, 128, 13_824),
    "llama3_8b": _model(128_256, 4_096, 32, 32, 8, 128, 14_336, rope=_LLAMA3, max_positions=8_192),
    "llama3_2_1b": _model(
        128_256, 2_048, 16, 32, 8, 64, 8_192, rope=_LLAMA3_2, max_positions=131_072, tied_head=True
    ),
    "mistral_7b": _model(
        32_000,
        4_096,
        32,
        32,
        8,
        128,
        14_336,
        family="mistral",
        window=4_096,
        pattern=("local",),
        max_positions=32_768,
    ),
    "qwen2_5_0_5b": _qwen("qwen2", _model(151_936, 896, 24, 14, 2, 64, 4_864), True),
    "qwen2_5_1_5b": _qwen("qwen2", _model(151_936, 1_536, 28, 12, 2, 128, 8_960), True),
    "qwen2_5_7b": _qwen("qwen2", _model(152_064, 3_584, 28, 28, 4, 128, 18_944), False),
    "qwen3_0_6b": _qwen("qwen3", _model(151_936, 1_024, 28, 16, 8, 128, 3_072), True),
    "qwen3_8b": _qwen("qwen3", _model(151_936, 4_096, 36, 32, 8, 128, 12_288), False),
    "gemma2_2b": _gemma("gemma2", _model(256_000, 2_304, 26, 8, 4, 256, 9_216)),
    "gemma2_9b": _gemma("gemma2", _model(256_000, 3_584, 42, 16, 8, 256, 14_336)),
    "gemma3_1b": _gemma("gemma3_text", _model(262_144, 1_152, 26, 4, 1, 256, 6_912)),
    "bloom_560m": _bloom(1_024, 24, 16),
    "bloom_7b1": _bloom(4_096, 30, 32),
}
"""Sizes by name; the vocabulary is the published one, and settings or the tokenizer replace it."""
