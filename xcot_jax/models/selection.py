"""The decoder of a run: from a checkpoint, a preset or single sizes, as the settings say."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from xcot_jax.models.config import SIZES, Lora, ModelConfig, ModelConfigError
from xcot_jax.models.families import from_hf
from xcot_jax.models.presets import PRESETS
from xcot_jax.settings import ModelSettings


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
        way_out = "raise model.vocab_size"
        if hf_config is not None:
            way_out = "use the tokenizer that belongs to the checkpoint"
        raise ModelConfigError(
            f"the tokenizer has {vocab_size} tokens but the model only {config.vocab_size}; "
            f"{way_out}"
        )
    return config


def _free(settings: ModelSettings) -> dict[str, Any]:
    """The fields that neither presets nor checkpoints decide."""
    lora = settings.lora
    return {
        "vocab_multiple": settings.vocab_multiple,
        "compute_dtype": settings.compute_dtype,
        "remat": settings.remat,
        "attention_kernel": settings.attention_kernel,
        "lora": Lora(lora.rank, lora.alpha, lora.targets) if lora.rank else None,
    }


def _from_checkpoint(settings: ModelSettings, hf_config: Mapping[str, Any]) -> ModelConfig:
    config = from_hf(hf_config, **_free(settings))
    preset = _preset(settings) if settings.preset else None
    for name in SIZES:
        if preset and (expected := getattr(preset, name)) != (found := getattr(config, name)):
            raise ModelConfigError(
                f"model.init_from={settings.init_from!r} is not a checkpoint of model.preset="
                f"{settings.preset!r}: its {name} is {found}, not {expected}; name that model's "
                "checkpoint, or leave model.preset empty"
            )
    for name in ("vocab_size", *SIZES):
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


def _preset(settings: ModelSettings) -> ModelConfig:
    if settings.preset not in PRESETS:
        raise ModelConfigError(
            f"model.preset={settings.preset!r} is not known; there are {', '.join(PRESETS)}"
        )
    return PRESETS[settings.preset]


def _from_preset(settings: ModelSettings, vocab_size: int) -> ModelConfig:
    preset = _preset(settings)
    changes = {name: getattr(settings, name) for name in SIZES if getattr(settings, name)}
    return dataclasses.replace(
        preset,
        **changes,
        vocab_size=settings.vocab_size or vocab_size,
        tied_head=settings.tied_head or preset.tied_head,
        **_free(settings),
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
        **_free(settings),
    )


def _default_ffn_width(width: int) -> int:
    """8/3 of the width, rounded up to a multiple of 32."""
    return -(-8 * width // (3 * 32)) * 32
