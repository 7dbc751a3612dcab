"""What `config.json` says beyond plain sizes, for each family: read into fields, and written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xcot_jax.models.config import LayerKind, ModelConfig, ModelConfigError
from xcot_jax.models.rotary import Rope

Json = Mapping[str, Any]
"""A `config.json`, or a part of it."""


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


def read_llama(hf: Json) -> dict[str, Any]:
    """Rotary positions (arXiv 2307.09288, 2407.21783), and biases where a model has them."""
    return {"rope": _read_rope(hf, hf.get("rope_theta") or 10_000.0), **_biases(hf)}


def write_llama(config: ModelConfig) -> dict[str, Any]:
    """What `read_llama` reads."""
    biases = {"attention_bias": config.output_bias, "mlp_bias": config.ffn_bias}
    return _write_rope(config) | biases


def read_mistral(hf: Json) -> dict[str, Any]:
    """A window in every layer (arXiv 2310.06825), which later versions leave out."""
    window = hf.get("sliding_window") or 0
    local = {"window": window, "pattern": ("local",)} if window else {}
    return {"rope": _read_rope(hf, hf.get("rope_theta") or 10_000.0), **local}


def write_mistral(config: ModelConfig) -> dict[str, Any]:
    """What `read_mistral` reads."""
    return _write_rope(config) | {"sliding_window": config.window or None}


def read_qwen(hf: Json) -> dict[str, Any]:
    """A window from some layer on (arXiv 2407.10671), if it is switched on."""
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


def write_qwen(config: ModelConfig) -> dict[str, Any]:
    """What `read_qwen` reads."""
    windows = {
        "use_sliding_window": "local" in config.pattern,
        "sliding_window": config.window or None,
        "layer_types": _layer_types(config),
    }
    return _write_rope(config) | windows


def read_qwen3(hf: Json) -> dict[str, Any]:
    """As Qwen 2, with biases where a model has them (arXiv 2505.09388)."""
    return read_qwen(hf) | _biases(hf)


def write_qwen3(config: ModelConfig) -> dict[str, Any]:
    """What `read_qwen3` reads."""
    return write_qwen(config) | {"attention_bias": config.output_bias}


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


def read_gemma2(hf: Json) -> dict[str, Any]:
    """Every other layer local, soft caps, scaled embeddings (arXiv 2408.00118)."""
    return _read_gemma(hf, 2) | {"rope": _read_rope(hf, hf.get("rope_theta") or 10_000.0)}


def write_gemma2(config: ModelConfig) -> dict[str, Any]:
    """What `read_gemma2` reads."""
    return _write_gemma(config) | _write_rope(config)


def read_gemma3(hf: Json) -> dict[str, Any]:
    """Five local layers to a global one, each kind with a base of its own (arXiv 2503.19786)."""
    parameters = hf.get("rope_parameters") or {}
    local = parameters.get("sliding_attention") or {}
    if (kind := local.get("rope_type", "default")) != "default":
        raise ModelConfigError(
            f"config.json asks for unsupported features: rope_type {kind!r} of local layers"
        )
    ropes = {
        "rope": _read_rope(
            {**hf, "rope_parameters": None},
            hf.get("rope_theta") or 1_000_000.0,
            parameters.get("full_attention"),
        ),
        "local_rope": Rope(
            theta=float(local.get("rope_theta") or hf.get("rope_local_base_freq") or 10_000.0)
        ),
    }
    return _read_gemma(hf, hf.get("sliding_window_pattern") or 6) | ropes


def write_gemma3(config: ModelConfig) -> dict[str, Any]:
    """What `read_gemma3` reads."""
    assert config.rope is not None and config.local_rope is not None
    return write_gemma2(config) | {"rope_local_base_freq": config.local_rope.theta}


def read_granite(hf: Json) -> dict[str, Any]:
    """Factors of scores, embeddings, residuals and logits."""
    return read_llama(hf) | {
        "attention_scale": float(hf.get("attention_multiplier", 1.0)),
        "embedding_scale": float(hf.get("embedding_multiplier", 1.0)),
        "residual_scale": float(hf.get("residual_multiplier", 1.0)),
        "logit_scale": 1.0 / float(hf.get("logits_scaling", 1.0)),
    }


def write_granite(config: ModelConfig) -> dict[str, Any]:
    """What `read_granite` reads."""
    return write_llama(config) | {
        "attention_multiplier": config.attention_scale or config.head_width**-0.5,
        "embedding_multiplier": config.embedding_scale,
        "residual_multiplier": config.residual_scale,
        "logits_scaling": 1.0 / config.logit_scale,
    }


def read_bloom(hf: Json) -> dict[str, Any]:
    """Sizes that follow from the width (arXiv 2211.05100)."""
    heads, width = hf["n_head"], hf["hidden_size"]
    return {"kv_heads": heads, "head_width": width // heads, "ffn_width": 4 * width}
