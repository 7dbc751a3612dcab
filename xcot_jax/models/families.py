"""Model families: how each one's `config.json` reads as a `ModelConfig`, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from xcot_jax.models import family_fields, tables
from xcot_jax.models.config import ACTIVATIONS, ModelConfig, ModelConfigError
from xcot_jax.models.family_fields import Json
from xcot_jax.models.tables import Row

_KEYS = {
    "vocab_size": "vocab_size",
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "head_width": "head_dim",
    "ffn_width": "intermediate_size",
    "max_positions": "max_position_embeddings",
    "norm_eps": "rms_norm_eps",
    "activation": "hidden_act",
    "tied_head": "tie_word_embeddings",
}
_GEMMA_KEYS = _KEYS | {
    "activation": "hidden_activation",
    "window": "sliding_window",
    "attention_softcap": "attn_logit_softcapping",
    "logit_softcap": "final_logit_softcapping",
}
_BLOOM_KEYS = {
    "vocab_size": "vocab_size",
    "width": "hidden_size",
    "layers": "n_layer",
    "heads": "n_head",
    "norm_eps": "layer_norm_epsilon",
    "tied_head": "tie_word_embeddings",
    "max_positions": "seq_length",
}
_OTHER_NAMES = {
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
    "hidden_size": "n_embed",
}
"""Names under which some checkpoints give the same."""

_DEFAULTS = {
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "max_position_embeddings": 2_048,
}
_MISTRAL_DEFAULTS = _DEFAULTS | {
    "max_position_embeddings": 131_072,
    "num_key_value_heads": 8,
    "sliding_window": 4_096,
}
_QWEN_DEFAULTS = _DEFAULTS | {"max_position_embeddings": 32_768}
_GEMMA_DEFAULTS = {
    "head_dim": 256,
    "rms_norm_eps": 1e-6,
    "hidden_activation": "gelu_pytorch_tanh",
    "tie_word_embeddings": True,
    "max_position_embeddings": 8_192,
    "sliding_window": 4_096,
    "query_pre_attn_scalar": 256,
}

_REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "quantization_config": ((None,), "quantised weights"),
    "partial_rotary_factor": ((None, 1.0), "rotary positions in a part of each head"),
    "use_bidirectional_attention": ((None, False), "attention to the future"),
    "apply_residual_connection_post_layernorm": ((None, False), "residuals after the norm"),
    "n_inner": ((None,), "another feed-forward width than four times the model's"),
}
"""Key of `config.json` -> the values the decoder serves, and what any other would ask for."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
    """One kind of checkpoint.

    Attributes:
      architecture: its name in `config.json`.
      model_type: the same, as transformers registers it.
      features: what sets it apart, for people.
      rows: its tensors.
      prefix: what tensors of the decoder's body begin with; some checkpoints leave it out.
      keys: field of `ModelConfig` -> key of `config.json`.
      defaults: values of keys that a `config.json` may leave out.
      fixed: fields that are the same in the whole family.
      read: further fields, from a `config.json` with the defaults filled in.
      write: further keys, from a decoder.
    """

    architecture: str
    model_type: str
    features: str
    rows: tuple[Row, ...] = tables.LLAMA
    prefix: str = "model."
    keys: Json = dataclasses.field(default_factory=lambda: _KEYS)
    defaults: Json = dataclasses.field(default_factory=lambda: _DEFAULTS)
    fixed: Json = dataclasses.field(default_factory=dict)
    read: Callable[[Json], dict[str, Any]]
    write: Callable[[ModelConfig], dict[str, Any]]


_BIASED = {"qkv_bias": True, "output_bias": True, "ffn_bias": True}

FAMILIES: dict[str, Family] = {
    family.model_type: family
    for family in (
        Family(
            architecture="LlamaForCausalLM",
            model_type="llama",
            features="RoPE with scaling, RMSNorm, gated SiLU, GQA",
            read=family_fields.read_llama,
            write=family_fields.write_llama,
        ),
        Family(
            architecture="MistralForCausalLM",
            model_type="mistral",
            features="Llama with a sliding window in every layer",
            defaults=_MISTRAL_DEFAULTS,
            read=family_fields.read_mistral,
            write=family_fields.write_mistral,
        ),
        Family(
            architecture="Qwen2ForCausalLM",
            model_type="qwen2",
            features="Llama with biases of queries, keys and values",
            defaults=_QWEN_DEFAULTS,
            fixed={"qkv_bias": True},
            read=family_fields.read_qwen,
            write=family_fields.write_qwen,
        ),
        Family(
            architecture="Qwen3ForCausalLM",
            model_type="qwen3",
            features="Llama with normed queries and keys",
            defaults=_QWEN_DEFAULTS | {"head_dim": 128},
            fixed={"qk_norm": True},
            read=family_fields.read_qwen3,
            write=family_fields.write_qwen3,
        ),
        Family(
            architecture="Gemma2ForCausalLM",
            model_type="gemma2",
            features="pre- and post-norms, soft caps, scaled embeddings, local and global layers",
            rows=tables.GEMMA,
            keys=_GEMMA_KEYS,
            defaults=_GEMMA_DEFAULTS
            | {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
            fixed={"norm_offset": 1.0, "post_norms": True},
            read=family_fields.read_gemma2,
            write=family_fields.write_gemma2,
        ),
        Family(
            architecture="Gemma3ForCausalLM",
            model_type="gemma3_text",
            features="Gemma 2 with normed queries and keys, two rotary bases, no soft caps",
            rows=tables.GEMMA,
            keys=_GEMMA_KEYS,
            defaults=_GEMMA_DEFAULTS | {"max_position_embeddings": 131_072},
            fixed={"norm_offset": 1.0, "post_norms": True, "qk_norm": True},
            read=family_fields.read_gemma3,
            write=family_fields.write_gemma3,
        ),
        Family(
            architecture="GraniteForCausalLM",
            model_type="granite",
            features="Llama with factors of embeddings, residuals, scores and logits",
            read=family_fields.read_granite,
            write=family_fields.write_granite,
        ),
        Family(
            architecture="BloomForCausalLM",
            model_type="bloom",
            features="ALiBi, LayerNorm, biases, GELU without a gate, normed embeddings, tied head",
            rows=tables.BLOOM,
            prefix="transformer.",
            keys=_BLOOM_KEYS,
            defaults={
                "layer_norm_epsilon": 1e-5,
                "tie_word_embeddings": True,
                "seq_length": 2_048,
            },
            fixed={
                "rope": None,
                "norm": "layer",
                "embedding_norm": True,
                "gated": False,
                "activation": "gelu_pytorch_tanh",
                **_BIASED,
            },
            read=family_fields.read_bloom,
            write=lambda config: {},
        ),
    )
}
"""The families by `model_type`."""


def find(hf_config: Json) -> Family:
    """The family of a `config.json`.

    Raises:
      ModelConfigError: for an architecture that is none of them.
    """
    architectures = hf_config.get("architectures") or []
    for family in FAMILIES.values():
        if family.architecture in architectures:
            return family
    supported = ", ".join(family.architecture for family in FAMILIES.values())
    named = ", ".join(architectures) or "(none named)"
    raise ModelConfigError(
        f"config.json: architecture {named} is not supported; these are: {supported}"
    )


def from_hf(hf_config: Json, **changes: Any) -> ModelConfig:
    """The decoder of a Hugging Face `config.json`.

    Args:
      hf_config: its content.
      changes: fields of `ModelConfig` that checkpoints do not decide, such as `compute_dtype`.

    Raises:
      ModelConfigError: for an unknown architecture, for features the decoder does not have, all
        listed at once, and for missing sizes.
    """
    family = find(hf_config)
    hf = {key: value for key, value in hf_config.items() if value is not None}
    hf |= {key: hf[other] for key, other in _OTHER_NAMES.items() if key not in hf and other in hf}
    given = {key: hf_config[key] for key in family.defaults if key in hf_config}
    hf = {**family.defaults, **given, **hf}
    problems = [
        f"{key}={hf[key]!r} ({what})"
        for key, (served, what) in _REFUSED.items()
        if hf.get(key) not in served
    ]
    activation = hf.get(family.keys.get("activation", ""), "gelu_pytorch_tanh")
    if activation not in ACTIVATIONS:
        problems.append(f"hidden_act {activation!r} (known: {', '.join(ACTIVATIONS)})")
    if problems:
        raise ModelConfigError(f"config.json asks for unsupported features: {'; '.join(problems)}")
    try:
        fields = {field: hf[key] for field, key in family.keys.items() if hf.get(key) is not None}
        fields.setdefault("kv_heads", hf[family.keys["heads"]])
        fields.setdefault("head_width", hf["hidden_size"] // hf[family.keys["heads"]])
        fields |= {**family.fixed, **family.read(hf), "family": family.model_type, **changes}
        return ModelConfig(**fields)
    except KeyError as error:
        raise ModelConfigError(
            f"config.json lacks {error}; it is not a whole checkpoint"
        ) from error
    except ModelConfigError:
        raise
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise ModelConfigError(f"config.json does not describe a model: {error}") from error


def to_hf(config: ModelConfig) -> dict[str, Any]:
    """The `config.json` of a decoder that did not come from a checkpoint; `from_hf` reads it."""
    family = FAMILIES[config.family]
    written = {key: getattr(config, field) for field, key in family.keys.items()}
    return {
        "architectures": [family.architecture],
        "model_type": family.model_type,
        **written,
        **family.write(config),
    }
