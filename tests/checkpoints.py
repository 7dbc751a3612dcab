"""Small random checkpoints of every model family, written by transformers and torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

VOCABULARY = 160

_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 160,
    "max_position_embeddings": 1_024,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_GEMMA = _SIZES | {"head_dim": 32, "query_pre_attn_scalar": 48, "sliding_window": 70}
_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 128,
}
_YARN = {
    "rope_type": "yarn",
    "rope_theta": 10_000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 256,
}

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama2": ("Llama", _SIZES | {"num_key_value_heads": 4}),
    "llama3": ("Llama", _SIZES | {"rope_parameters": _LLAMA3, "tie_word_embeddings": True}),
    "llama, biases": ("Llama", _SIZES | {"attention_bias": True, "mlp_bias": True}),
    "mistral": ("Mistral", _SIZES | {"sliding_window": 100}),
    "qwen2": ("Qwen2", _SIZES | {"tie_word_embeddings": True}),
    "qwen2, yarn, windows": (
        "Qwen2",
        _SIZES
        | {
            "rope_parameters": _YARN,
            "use_sliding_window": True,
            "sliding_window": 90,
            "max_window_layers": 1,
        },
    ),
    "qwen3": ("Qwen3", _SIZES | {"head_dim": 48}),
    "gemma2": ("Gemma2", _GEMMA | {"num_hidden_layers": 3}),
    "gemma3": (
        "Gemma3",
        _GEMMA
        | {
            "num_hidden_layers": 5,
            "layer_types": ["sliding_attention", "full_attention"] * 2 + ["sliding_attention"],
            "rope_parameters": {
                "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
                "full_attention": {
                    "rope_type": "linear",
                    "factor": 8.0,
                    "rope_theta": 1_000_000.0,
                },
            },
        },
    ),
    "granite": (
        "Granite",
        _SIZES
        | {
            "attention_multiplier": 0.2,
            "embedding_multiplier": 6.0,
            "residual_multiplier": 0.4,
            "logits_scaling": 0.7,
        },
    ),
    "bloom": (
        "Bloom",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": 192,
            "n_layer": 3,
            "n_head": 6,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 3,
        },
    ),
}
"""Name -> the class of transformers, and the arguments of its configuration."""


def make(name: str, directory: Path | None = None, dtype: str = "float32", **changes: Any) -> Any:
    """A random model of transformers', none of whose weights is zero or one; saved if asked for.

    Args:
      name: a row of `FAMILIES`.
      directory: where `save_pretrained` writes it.
      dtype: type of the weights.
      changes: arguments of the configuration that replace the table's.
    """
    import torch
    import transformers

    kind, arguments = FAMILIES[name]
    config_name = "Gemma3TextConfig" if kind == "Gemma3" else f"{kind}Config"
    config = getattr(transformers, config_name)(**arguments | changes)
    config._attn_implementation = "eager"  # The one form in which all families' options exist.
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            spread = 0.08 if parameter.ndim > 1 else 0.2
            parameter.add_(torch.randn_like(parameter) * spread)
    model = model.to(getattr(torch, dtype))
    if directory is not None:
        model.save_pretrained(directory)
    return model
