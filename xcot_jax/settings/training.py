"""Settings of input, model, mesh, loss, optimizer and training loop (`xcot train`)."""

from __future__ import annotations

import dataclasses

from xcot_jax.settings.fields import section, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSettings:
    """From TFRecords to packed rows on the mesh."""

    dir: str = setting("", "dataset directory that xcot prep wrote")
    tokenizer: str = setting(
        "",
        "Hugging Face directory or SentencePiece .model; empty: that of model.init_from, or the "
        "one in the dataset directory",
    )
    chat: str = setting(
        "auto",
        "whether prompts become messages of the tokenizer's chat template; auto: if it has one",
        choices=("auto", "always", "never"),
    )
    students: int = setting(1, "most student views of a group (K); slots have K + 1 columns", low=0)
    student_ce: float = setting(
        1.0, "weight of the cross-entropy of students that have a teacher", low=0
    )
    preamble_ce: float = setting(1.0, "weight of the cross-entropy of preambles", low=0)
    row_tokens: int = setting(512, "tokens in a packed row (T)", low=8)
    row_slots: int = setting(256, "loss slots in a packed row (S)", low=4)
    batch_rows: int = setting(16, "rows in a global batch (B), all microbatches together", low=1)
    streams: int = setting(
        0,
        "parts the records are dealt out to, which hosts read and pack apart; a divisor of "
        "batch_rows, best a multiple of the number of hosts; 0: one for every four rows",
        low=0,
    )
    packing_bins: int = setting(64, "rows filled side by side while packing, in all streams", low=1)
    overlong: str = setting(
        "drop", "groups longer than a row: count and leave out, or stop", choices=("drop", "error")
    )
    prefetch: int = setting(4, "batches prepared ahead", low=1)


_MATRICES = ("query", "key", "value", "output", "gate", "up", "down")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """Low-rank adapters (arXiv 2106.09685); with a rank, they alone are trained and saved."""

    rank: int = setting(0, "inner width r of the adapters; 0: train all weights", low=0)
    alpha: float = setting(16.0, "adapters are multiplied by alpha / rank", low=0.001)
    targets: tuple[str, ...] = setting(
        _MATRICES, "matrices of a block that get an adapter", choices=_MATRICES
    )
    base_dtype: str = setting(
        "bfloat16", "type the frozen weights are kept in", choices=("bfloat16", "float32")
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """The decoder. A preset or a checkpoint fills what is left at 0 or empty."""

    init_from: str = setting("", "Hugging Face directory to start from; empty: random weights")
    preset: str = setting("", "named size of xcot_jax.models.presets.PRESETS")
    vocab_size: int = setting(0, "vocabulary (V); 0: the tokenizer's", low=0)
    vocab_multiple: int = setting(
        32,
        "rows of embedding and head are padded to a multiple of this, so that they divide over "
        "the mesh; never generated, never exported",
        low=1,
    )
    width: int = setting(0, "model width (D)", low=0)
    layers: int = setting(0, "blocks (L)", low=0)
    heads: int = setting(0, "query heads (N)", low=0)
    kv_heads: int = setting(0, "key/value heads (K); 0: as many as query heads", low=0)
    head_width: int = setting(0, "width of a head (H); 0: width / heads", low=0)
    ffn_width: int = setting(
        0, "feed-forward width (F); 0: 8/3 of the width, in multiples of 32", low=0
    )
    tied_head: bool = setting(False, "whether the output head is the embedding, transposed")
    compute_dtype: str = setting(
        "bfloat16", "type of activations and matrix products", choices=("bfloat16", "float32")
    )
    remat: str = setting(
        "none", "what the backward pass recomputes", choices=("none", "dots", "full")
    )
    attention_kernel: str = setting(
        "auto",
        "form of the attention in training; auto: the fastest on the platform",
        choices=("auto", "plain", "blocks", "splash", "cudnn"),
    )
    lora: LoraSettings = section(LoraSettings)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeshSettings:
    """Devices along each mesh axis; -1, once at most, takes the rest."""

    data: int = setting(1, "copies of the weights", low=-1)
    fsdp: int = setting(-1, "shards of the weights, each with its own rows", low=-1)
    tensor: int = setting(1, "shards of heads, feed-forward and vocabulary", low=-1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossSettings:
    """L = CE + beta T^2 KL(teacher || student)."""

    beta: float = setting(
        0.5, "weight of the distillation term; 0: plain instruction tuning", low=0
    )
    temperature: float = setting(1.0, "softmax temperature T of the distillation term", low=0.01)
    chunk_slots: int = setting(0, "slots whose logits exist at once; 0: chosen by memory", low=0)
    warmup_steps: int = setting(0, "steps over which beta rises linearly to its value", low=0)
    head_parts: int = setting(
        0, "parts in which a head spread over devices is gathered; 0: chosen by memory", low=0
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimSettings:
    """The optimizer, with linear warm-up and cosine decay."""

    name: str = setting(
        "adamw",
        "muon: Muon for the matrices of the blocks or their adapters, AdamW for all else",
        choices=("adamw", "muon"),
    )
    learning_rate: float = setting(3e-4, "peak learning rate", low=0)
    warmup_steps: int = setting(100, "steps of linear warm-up", low=0)
    warmup_fraction: float = setting(
        0.0,
        "warm-up as a share of all steps, in place of optim.warmup_steps; 0: that",
        low=0,
        high=1,
    )
    final_fraction: float = setting(0.1, "share of the peak left at the end", low=0, high=1)
    weight_decay: float = setting(0.1, "decoupled decay of matrices", low=0)
    momentum: float = setting(0.95, "Muon's momentum", low=0, high=0.99999)
    b1: float = setting(0.9, "first moment decay", low=0, high=0.99999)
    b2: float = setting(0.95, "second moment decay", low=0, high=0.99999)
    eps: float = setting(1e-8, "Adam epsilon", low=0)
    clip_norm: float = setting(1.0, "largest global gradient norm; 0: no clipping", low=0)
    accumulate: int = setting(1, "microbatches a step", low=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """The training loop."""

    steps: int = setting(1000, "optimizer steps, unless train.epochs is set", low=1)
    epochs: float = setting(
        0.0,
        "passes over the records, in place of train.steps; how many steps that is, is told by the "
        "lengths of up to 2,048 of them, before the first step; 0: train.steps",
        low=0,
    )
    log_every: int = setting(10, "steps between lines of metrics", low=1)
    checkpoint_every: int = setting(
        200, "steps between checkpoints; the last step is always saved", low=1
    )
    keep_checkpoints: int = setting(
        2, "newest checkpoints kept; with 1 there is none to fall back on if it is damaged", low=1
    )
    skip_nonfinite: bool = setting(
        False,
        "whether a step whose loss or gradient is not finite is left out and counted; else the run "
        "stops there",
    )
    nonfinite_limit: int = setting(
        10, "such steps in a row that stop the run even so (train.skip_nonfinite)", low=1
    )
    eval_every: int = setting(0, "steps between evaluations in the loop; 0: none", low=0)
    eval_batches: int = setting(8, "batches of the validation split measured in the loop", low=0)
    eval_limit: int = setting(
        20, "problems a language in the loop's benchmarks; 0: no benchmarks", low=0
    )
