"""Model families: how each one's `config.json` reads as a `ModelConfig`, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from xcot_jax.models import tables
from xcot_jax.models.config import ACTIVATIONS, LayerKind, ModelConfig, ModelConfigError
from xcot_jax.models.rotary import Rope
from xcot_jax.models.tables import Row

Json = Mapping[str, Any]

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
    "max_position_embeddings": 4_096,
}
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


def _read_rope(hf: Json, theta: float, scaling: Json | None = None) -> Rope:
    """From `rope_parameters` (transformers 5), or `rope_theta` and `rope_scaling` (earlier)."""
    found = {**(scaling or hf.get("rope_scaling") or hf.get("rope_parameters") or {})}
    kind = found.get("rope_type") or found.get("type") or "default"
    theta = float(found.get("rope_theta") or theta)
    length = int(found.get("original_max_position_embeddings") or hf["max_position_embeddings"])
    if found.get("mscale") or found.get("mscale_all_dim"):
        kind += " with mscale"
    match kind:
        case "default":
            return Rope(theta=theta)
        case "linear":
            return Rope(theta=theta, kind=kind, factor=float(found["factor"]))
        case "llama3":
            return Rope(
                theta=theta,
                kind=kind,
                factor=float(found["factor"]),
                original_length=length,
                low_frequency=float(found["low_freq_factor"]),
                high_frequency=float(found["high_freq_factor"]),
            )
        case "yarn":
            return Rope(
                theta=theta,
                kind=kind,
                factor=float(found["factor"]),
                original_length=length,
                slow=float(found.get("beta_slow") or 1),
                fast=float(found.get("beta_fast") or 32),
                magnitude=float(found.get("attention_factor") or 0),
                truncate=bool(found.get("truncate", True)),
            )
    raise ModelConfigError(
        f"config.json asks for unsupported features: rope_type {kind!r} (rotary positions of "
        "another kind than default, linear, llama3 and yarn)"
    )


def _write_scaling(rope: Rope) -> dict[str, Any] | None:
    """`rope_scaling`, as all versions of transformers read it."""
    found: dict[str, Any] = {"rope_type": rope.kind, "factor": rope.factor}
    if rope.kind == "default":
        return None
    if rope.kind in ("llama3", "yarn"):
        found["original_max_position_embeddings"] = rope.original_length
    if rope.kind == "llama3":
        found |= {"low_freq_factor": rope.low_frequency, "high_freq_factor": rope.high_frequency}
    if rope.kind == "yarn":
        found |= {"beta_slow": rope.slow, "beta_fast": rope.fast, "truncate": rope.truncate}
        if rope.magnitude:
            found["attention_factor"] = rope.magnitude
    return found


def _write_rope(config: ModelConfig) -> dict[str, Any]:
    assert config.rope is not None
    return {"rope_theta": config.rope.theta, "rope_scaling": _write_scaling(config.rope)}


def _pattern(layer_types: Sequence[str]) -> tuple[LayerKind, ...]:
    """The shortest pattern that, repeated, gives these layers."""
    kinds: list[LayerKind] = [
        "local" if name == "sliding_attention" else "global" for name in layer_types
    ]
    periods = range(1, len(kinds) + 1)
    length = next(p for p in periods if all(kinds[i] == kinds[i % p] for i in range(len(kinds))))
    return tuple(kinds[:length])


def _layer_types(config: ModelConfig) -> list[str]:
    names = {"local": "sliding_attention", "global": "full_attention"}
    return [names[kind] for kind in config.kinds]


def _biases(hf: Json) -> dict[str, Any]:
    bias = bool(hf.get("attention_bias", False))
    return {"qkv_bias": bias, "output_bias": bias, "ffn_bias": bool(hf.get("mlp_bias", False))}


def _read_llama(hf: Json) -> dict[str, Any]:
    return {"rope": _read_rope(hf, hf.get("rope_theta") or 10_000.0), **_biases(hf)}


def _write_llama(config: ModelConfig) -> dict[str, Any]:
    biases = {"attention_bias": config.output_bias, "mlp_bias": config.ffn_bias}
    return _write_rope(config) | biases


def _read_mistral(hf: Json) -> dict[str, Any]:
    window = hf.get("sliding_window") or 0
    local = {"window": window, "pattern": ("local",)} if window else {}
    return {"rope": _read_rope(hf, hf.get("rope_theta") or 10_000.0), **local}


def _write_mistral(config: ModelConfig) -> dict[str, Any]:
    return _write_rope(config) | {"sliding_window": config.window or None}


def _read_qwen(hf: Json) -> dict[str, Any]:
    fields: dict[str, Any] = {"rope": _read_rope(hf, hf.get("rope_theta") or 10_000.0)}
    if hf.get("use_sliding_window") and hf.get("sliding_window"):
        first = hf.get("max_window_layers", 28)
        layers = hf["num_hidden_layers"]
        types = hf.get("layer_types") or [
            "sliding_attention" if layer >= first else "full_attention" for layer in range(layers)
        ]
        pattern = _pattern(types)
        fields |= {"pattern": pattern, "window": hf["sliding_window"] if "local" in pattern else 0}
    return fields


def _write_qwen(config: ModelConfig) -> dict[str, Any]:
    windows = {
        "use_sliding_window": "local" in config.pattern,
        "sliding_window": config.window or None,
        "layer_types": _layer_types(config),
    }
    return _write_rope(config) | windows


def _read_qwen3(hf: Json) -> dict[str, Any]:
    return _read_qwen(hf) | _biases(hf)


def _write_qwen3(config: ModelConfig) -> dict[str, Any]:
    return _write_qwen(config) | {"attention_bias": config.output_bias}


def _read_gemma(hf: Json, every: int) -> dict[str, Any]:
    """`every`: of so many layers, the last is global where the file does not say it otherwise."""
    types = hf.get("layer_types") or [
        "sliding_attention" if (layer + 1) % every else "full_attention"
        for layer in range(hf["num_hidden_layers"])
    ]
    return {
        "embedding_scale": float(hf["hidden_size"]) ** 0.5,
        "attention_scale": float(hf["query_pre_attn_scalar"]) ** -0.5,
        "attention_softcap": float(hf.get("attn_logit_softcapping") or 0.0),
        "logit_softcap": float(hf.get("final_logit_softcapping") or 0.0),
        "pattern": _pattern(types),
        **_biases(hf),
    }


def _write_gemma(config: ModelConfig) -> dict[str, Any]:
    return {
        "query_pre_attn_scalar": round(config.attention_scale**-2),
        "attn_logit_softcapping": config.attention_softcap or None,
        "final_logit_softcapping": config.logit_softcap or None,
        "layer_types": _layer_types(config),
        "attention_bias": config.output_bias,
    }


def _read_gemma2(hf: Json) -> dict[str, Any]:
    return _read_gemma(hf, 2) | {"rope": _read_rope(hf, hf.get("rope_theta") or 10_000.0)}


def _write_gemma2(config: ModelConfig) -> dict[str, Any]:
    return _write_gemma(config) | _write_rope(config)


def _read_gemma3(hf: Json) -> dict[str, Any]:
    parameters = hf.get("rope_parameters") or {}
    local = (parameters.get("sliding_attention") or {}).get("rope_theta")
    ropes = {
        "rope": _read_rope(
            {**hf, "rope_parameters": None},
            hf.get("rope_theta") or 1_000_000.0,
            parameters.get("full_attention"),
        ),
        "local_rope": Rope(theta=float(local or hf.get("rope_local_base_freq") or 10_000.0)),
    }
    return _read_gemma(hf, hf.get("sliding_window_pattern") or 6) | ropes


def _write_gemma3(config: ModelConfig) -> dict[str, Any]:
    assert config.rope is not None and config.local_rope is not None
    return _write_gemma2(config) | {"rope_local_base_freq": config.local_rope.theta}


def _read_granite(hf: Json) -> dict[str, Any]:
    return _read_llama(hf) | {
        "attention_scale": float(hf.get("attention_multiplier", 1.0)),
        "embedding_scale": float(hf.get("embedding_multiplier", 1.0)),
        "residual_scale": float(hf.get("residual_multiplier", 1.0)),
        "logit_scale": 1.0 / float(hf.get("logits_scaling", 1.0)),
    }


def _write_granite(config: ModelConfig) -> dict[str, Any]:
    return _write_llama(config) | {
        "attention_multiplier": config.attention_scale or config.head_width**-0.5,
        "embedding_multiplier": config.embedding_scale,
        "residual_multiplier": config.residual_scale,
        "logits_scaling": 1.0 / config.logit_scale,
    }


def _read_bloom(hf: Json) -> dict[str, Any]:
    heads, width = hf["n_head"], hf["hidden_size"]
    return {"kv_heads": heads, "head_width": width // heads, "ffn_width": 4 * width}


_BIASED = {"qkv_bias": True, "output_bias": True, "ffn_bias": True}

FAMILIES: dict[str, Family] = {
    family.model_type: family
    for family in (
        Family(
            architecture="LlamaForCausalLM",
            model_type="llama",
            features="RoPE with scaling, RMSNorm, gated SiLU, GQA",
            read=_read_llama,
            write=_write_llama,
        ),
        Family(
            architecture="MistralForCausalLM",
            model_type="mistral",
            features="Llama with a sliding window in every layer",
            read=_read_mistral,
            write=_write_mistral,
        ),
        Family(
            architecture="Qwen2ForCausalLM",
            model_type="qwen2",
            features="Llama with biases of queries, keys and values",
            fixed={"qkv_bias": True},
            read=_read_qwen,
            write=_write_qwen,
        ),
        Family(
            architecture="Qwen3ForCausalLM",
            model_type="qwen3",
            features="Llama with normed queries and keys",
            defaults=_DEFAULTS | {"head_dim": 128},
            fixed={"qk_norm": True},
            read=_read_qwen3,
            write=_write_qwen3,
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
            read=_read_gemma2,
            write=_write_gemma2,
        ),
        Family(
            architecture="Gemma3ForCausalLM",
            model_type="gemma3_text",
            features="Gemma 2 with normed queries and keys, two rotary bases, no soft caps",
            rows=tables.GEMMA,
            keys=_GEMMA_KEYS,
            defaults=_GEMMA_DEFAULTS,
            fixed={"norm_offset": 1.0, "post_norms": True, "qk_norm": True},
            read=_read_gemma3,
            write=_write_gemma3,
        ),
        Family(
            architecture="GraniteForCausalLM",
            model_type="granite",
            features="Llama with factors of embeddings, residuals, scores and logits",
            read=_read_granite,
            write=_write_granite,
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
            read=_read_bloom,
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
    except TypeError as error:
        missing = [family.keys[n] for n in ("vocab_size", "width", "layers") if n not in fields]
        raise ModelConfigError(
            f"config.json lacks {', '.join(missing) or error}; it is not a whole checkpoint"
        ) from error


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
