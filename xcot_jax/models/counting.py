"""Parameters and floating-point operations of a decoder, counted from its sizes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from xcot_jax.models.config import ModelConfig


def _block_matrices(config: ModelConfig) -> int:
    """Weights of one block's matrix products."""
    return sum(math.prod(inputs + outputs) for inputs, outputs in config.matrices.values())


def _norm(config: ModelConfig) -> int:
    """Parameters of a norm over the residual stream."""
    return config.width * (2 if config.norm == "layer" else 1)


def parameter_count(config: ModelConfig) -> int:
    """All parameters of the model; a tied head counts once, adapters and padding not at all."""
    embeddings = config.vocab_size * config.width * (1 if config.tied_head else 2)
    heads = (config.heads + 2 * config.kv_heads) * config.head_width
    biases = heads * config.qkv_bias + config.width * config.output_bias
    biases += config.ffn_bias * (config.width + config.ffn_width * (2 if config.gated else 1))
    norms = _norm(config) * (4 if config.post_norms else 2) + 2 * config.head_width * config.qk_norm
    block = _block_matrices(config) + biases + norms
    return embeddings + config.layers * block + _norm(config) * (2 if config.embedding_norm else 1)


def trained_count(config: ModelConfig) -> int:
    """Parameters that training changes: all, or those of the adapters."""
    if config.lora is None:
        return parameter_count(config)
    matrices = [sizes for name, sizes in config.matrices.items() if name in config.lora.targets]
    widths = sum(math.prod(inputs) + math.prod(outputs) for inputs, outputs in matrices)
    return config.layers * config.lora.rank * widths


def causal_pairs(lengths: Iterable[int], window: int = 0) -> int:
    """Query-key pairs of causal attention in segments of these lengths.

    Without a window the sum of n (n + 1) / 2; with one, a query sees at most `window` keys.
    """
    seen = [(n, max(n - window, 0) if window else 0) for n in lengths]
    return sum(n * (n + 1) // 2 - beyond * (beyond + 1) // 2 for n, beyond in seen)


def attended_pairs(config: ModelConfig, lengths: Sequence[int]) -> int:
    """Query-key pairs that all layers together look at, in segments of these lengths."""
    pairs = {
        kind: causal_pairs(lengths, config.attention_rule(kind).window) for kind in config.pattern
    }
    return sum(pairs[kind] for kind in config.kinds)


def forward_flops(config: ModelConfig, *, tokens: int, attended_pairs: int, head_slots: int) -> int:
    """Floating-point operations of a forward pass that the model cannot do without.

    A product of `[m, k]` and `[k, n]` counts `2 m k n`. With every matrix of a block used once a
    token, scores and weighted values once an attended pair, and the head only where a loss is
    taken (2 F in place of 3 F without a gate):

        2 tokens L D (2 N H + 2 K H + 3 F)  +  4 attended_pairs N H  +  2 head_slots D V

    Norms, rotary angles and softmax are left out, as is usual; adapters, too.

    Args:
      config: the decoder.
      tokens: tokens that pass through the blocks; leave padding out for useful FLOPs.
      attended_pairs: query-key pairs under causal, segment and window masks, summed over the
        layers (`attended_pairs`).
      head_slots: positions at which the head is evaluated.
    """
    blocks = 2 * tokens * config.layers * _block_matrices(config)
    attention = 4 * attended_pairs * config.heads * config.head_width
    head = 2 * head_slots * config.width * config.vocab_size
    return blocks + attention + head


def training_flops(config: ModelConfig, lengths: Sequence[int], head_slots: int) -> int:
    """Operations of a training step on segments of these lengths; recomputation is not counted.

    The backward pass takes twice the forward one: a product for the inputs' gradient and one for
    the weights'. Frozen weights want the first only; adapters' own products are left out.
    """
    pairs = attended_pairs(config, lengths)
    forward = forward_flops(
        config, tokens=sum(lengths), attended_pairs=pairs, head_slots=head_slots
    )
    if config.lora is None:
        return 3 * forward
    # Attention has no weights: both of its inputs want a gradient.
    return 2 * forward + 4 * pairs * config.heads * config.head_width
