"""Every setting of every command: name, type, default, range and meaning, as frozen dataclasses.

A run is one `Settings` value. Config files change what they need of it; `xcot_jax.config` reads,
checks and saves them. This file is the reference: what is not here is not a setting.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from xcot_jax.languages import CODES, HIGH_RESOURCE


def setting(
    default: Any,
    meaning: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """A dataclass field with its meaning and its allowed values (`low` and `high` are allowed)."""
    metadata = {"meaning": meaning, "low": low, "high": high, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata)


def section(cls: type) -> Any:
    """A nested group of settings."""
    return dataclasses.field(default_factory=cls)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StorySettings:
    """The embedded corpus of story problems (`prep.source = "story"`)."""

    high_count: int = setting(6000, "training problems asked in the high-resource languages", low=1)
    low_count: int = setting(60, "of these, how many each low-resource language also asks", low=0)
    heldout_count: int = setting(60, "problems of the validation and of the test split", low=0)
    withheld: float = setting(
        0.5, "share of nouns and verbs low-resource training never shows", low=0, high=1
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixtureSettings:
    """How often each recipe is drawn, relative to the other recipes that fit a problem."""

    instruct: float = setting(1.0, "plain multilingual instruction", low=0)
    xicl: float = setting(0.0, "code-switched demonstrations and question", low=0)
    random_cot: float = setting(0.0, "question in another language first, then the answer", low=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class XiclSettings:
    """Code-switched in-context learning (xCoT, section 3)."""

    lexicon: str = setting(
        "story", 'tab-separated lexicon file, "story", or "story-seen" (without the withheld words)'
    )
    rate: float = setting(
        0.5, "chance that a fragment the lexicon covers is replaced", low=0, high=1
    )
    demonstrations: int = setting(0, "worked examples before the question", low=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenizerTraining:
    """The SentencePiece model that `xcot prep` can train on its own output."""

    train: bool = setting(False, "whether to train one and write it beside the records")
    vocab_size: int = setting(8000, "pieces, special ones and bytes included", low=300)
    whole_numbers_below: int = setting(
        0, "integers below this are one token each; 0 splits every number into digits", low=0
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrepSettings:
    """From problems to TFRecords (`xcot prep`)."""

    source: str = setting(
        "story", "where problems come from", choices=("story", "parallel", "gsm8k")
    )
    path: str = setting("", "JSON Lines file of the parallel and gsm8k sources")
    languages: tuple[str, ...] = setting(CODES, "languages kept of each problem", choices=CODES)
    teacher: bool = setting(
        True, "whether groups carry a high-resource teacher view; without, every view stands alone"
    )
    repeat_low_resource: int = setting(
        1, "groups made of each low-resource question, by fresh draws", low=1
    )
    heldout: int = setting(0, "problems kept out of training for validation (file sources)", low=0)
    template: str = setting("question", "prompt template, a row of xcot_jax.prompts.TEMPLATES")
    shards: int = setting(4, "TFRecord files of the training split", low=1)
    mixture: MixtureSettings = section(MixtureSettings)
    story: StorySettings = section(StorySettings)
    xicl: XiclSettings = section(XiclSettings)
    tokenizer: TokenizerTraining = section(TokenizerTraining)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSettings:
    """From TFRecords to packed rows on the mesh."""

    dir: str = setting("", "dataset directory that xcot prep wrote")
    tokenizer: str = setting(
        "",
        "Hugging Face directory or SentencePiece .model; empty: the one in the dataset directory",
    )
    students: int = setting(1, "most student views of a group (K); slots have K + 1 columns", low=0)
    row_tokens: int = setting(512, "tokens in a packed row (T)", low=8)
    row_slots: int = setting(256, "loss slots in a packed row (S)", low=4)
    batch_rows: int = setting(16, "rows in a global batch (B), all microbatches together", low=1)
    packing_bins: int = setting(64, "rows filled side by side while packing, on each host", low=1)
    overlong: str = setting(
        "drop", "groups longer than a row: count and leave out, or stop", choices=("drop", "error")
    )
    prefetch: int = setting(4, "batches prepared ahead", low=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """The decoder. A preset or a checkpoint fills what is left at 0 or empty."""

    init_from: str = setting("", "Hugging Face directory to start from; empty: random weights")
    preset: str = setting("", "named size of xcot_jax.models.config.PRESETS")
    vocab_size: int = setting(0, "vocabulary (V); 0: the tokenizer's", low=0)
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
    chunk_slots: int = setting(0, "slots whose logits exist at once; 0: chosen by size", low=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimSettings:
    """AdamW with linear warm-up and cosine decay."""

    learning_rate: float = setting(3e-4, "peak learning rate", low=0)
    warmup_steps: int = setting(100, "steps of linear warm-up", low=0)
    final_fraction: float = setting(0.1, "share of the peak left at the end", low=0, high=1)
    weight_decay: float = setting(0.1, "decoupled decay of matrices", low=0)
    b1: float = setting(0.9, "first moment decay", low=0, high=0.99999)
    b2: float = setting(0.95, "second moment decay", low=0, high=0.99999)
    eps: float = setting(1e-8, "Adam epsilon", low=0)
    clip_norm: float = setting(1.0, "largest global gradient norm; 0: no clipping", low=0)
    accumulate: int = setting(1, "microbatches a step", low=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """The training loop."""

    steps: int = setting(1000, "optimizer steps", low=1)
    log_every: int = setting(10, "steps between lines of metrics", low=1)
    checkpoint_every: int = setting(
        200, "steps between checkpoints; the last step is always saved", low=1
    )
    keep_checkpoints: int = setting(2, "newest checkpoints kept", low=1)
    eval_every: int = setting(0, "steps between evaluations in the loop; 0: none", low=0)
    eval_batches: int = setting(8, "batches of the validation split measured in the loop", low=0)
    eval_limit: int = setting(
        20, "problems a language in the loop's benchmarks; 0: no benchmarks", low=0
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalSettings:
    """Benchmarks (`xcot eval`, and in the training loop)."""

    benchmarks: tuple[str, ...] = setting(
        ("heldout",), "benchmarks to run, rows of xcot_jax.evaluation.benchmarks.BENCHMARKS"
    )
    languages: tuple[str, ...] = setting(CODES, "languages to ask in", choices=CODES)
    split: str = setting(
        "test", "split of the dataset's own held-out problems", choices=("validation", "test")
    )
    limit: int = setting(0, "problems a language; 0: all", low=0)
    batch_size: int = setting(64, "prompts generated together", low=1)
    max_new_tokens: int = setting(256, "tokens generated before giving up", low=1)
    mgsm_dir: str = setting("", "directory of mgsm_<code>.tsv files")
    msvamp_dir: str = setting("", "directory of test_<Language>.json files")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """A whole run."""

    name: str = setting("run", "name of the method in reports; runs that differ by seed share it")
    seed: int = setting(0, "seed of everything random", low=0)
    high_resource: tuple[str, ...] = setting(
        HIGH_RESOURCE,
        "high-resource languages: the first is the teacher's; the rest are low",
        choices=CODES,
    )
    prep: PrepSettings = section(PrepSettings)
    data: DataSettings = section(DataSettings)
    model: ModelSettings = section(ModelSettings)
    mesh: MeshSettings = section(MeshSettings)
    loss: LossSettings = section(LossSettings)
    optim: OptimSettings = section(OptimSettings)
    train: TrainSettings = section(TrainSettings)
    eval: EvalSettings = section(EvalSettings)
