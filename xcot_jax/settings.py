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
    empty: bool = False,
) -> Any:
    """A dataclass field with its meaning and its allowed values (`low` and `high` are allowed).

    A tuple may be empty where `empty` says so.
    """
    metadata = {
        "meaning": meaning,
        "low": low,
        "high": high,
        "choices": choices,
        "empty": empty or default == (),
    }
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
class OpenaiSettings:
    """Translation by a chat endpoint that speaks OpenAI's protocol, such as a local vLLM."""

    base_url: str = setting("http://localhost:8000/v1", "address of the endpoint")
    model: str = setting("", "name of the model it serves")
    key_variable: str = setting("OPENAI_API_KEY", "environment variable that holds the key, if any")
    prompt: str = setting(
        "Translate the following {source} maths problem into {target}. Keep every number as digits "
        "and every name. Reply with the translation only.\n\n{text}",
        "what is asked for each text; has {text}, and may have {source} and {target}",
    )
    temperature: float = setting(0.0, "sampling temperature", low=0)
    max_tokens: int = setting(1024, "most tokens of a reply; 0: the endpoint's limit", low=0)
    extra: str = setting(
        "", 'further fields of each request as a JSON object, such as {"reasoning_effort": "low"}'
    )
    concurrency: int = setting(16, "requests under way at once", low=1)
    requests_per_minute: float = setting(0.0, "rate limit; 0: none", low=0)
    timeout: float = setting(60.0, "seconds to wait for a reply", low=0.1)
    attempts: int = setting(6, "tries of a request, with growing pauses, before giving up", low=1)
    pause: float = setting(
        1.0, "seconds before the second try; doubled before each further one", low=0
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seq2SeqSettings:
    """Translation by a Hugging Face encoder-decoder: NLLB, M2M100 or MADLAD-400."""

    checkpoint: str = setting("", "directory, or name on the hub")
    batch_size: int = setting(16, "texts translated together", low=1)
    beams: int = setting(4, "beams of the search", low=1)
    max_new_tokens: int = setting(512, "most tokens of a translation", low=1)
    by_sentence: bool = setting(
        True, "whether a text is translated sentence by sentence, as such models are trained"
    )
    device: str = setting("auto", "torch device; auto: a GPU if there is one")
    dtype: str = setting("float32", "type of weights and products", choices=("float32", "bfloat16"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TranslateSettings:
    """Questions a problem lacks, filled in by machine translation of the teacher's."""

    backend: str = setting(
        "none", "who translates", choices=("none", "precomputed", "openai", "seq2seq", "model")
    )
    files: tuple[str, ...] = setting(
        (), "parallel JSON Lines files of the precomputed back end, matched by the source question"
    )
    workdir: str = setting("", "run whose newest checkpoint translates (model)")
    cache: str = setting(
        "", "SQLite file of translations already made; empty: OUT.translations.sqlite"
    )
    openai: OpenaiSettings = section(OpenaiSettings)
    seq2seq: Seq2SeqSettings = section(Seq2SeqSettings)


@dataclasses.dataclass(frozen=True, kw_only=True)
class QualitySettings:
    """Filters of translated questions and of problems; the data card counts what each drops."""

    rules: tuple[str, ...] = setting(
        (
            "contamination",
            "untranslated",
            "wrong_language",
            "numbers",
            "length_ratio",
            "duplicate",
        ),
        "rules of data_prep.quality.filters.RULES that apply, in this order",
        choices=(
            "contamination",
            "untranslated",
            "wrong_language",
            "numbers",
            "length_ratio",
            "duplicate",
        ),
        empty=True,
    )
    number_words: bool = setting(
        True, "whether a number may be spelt out in the translation (2, zwei)"
    )
    shortest: float = setting(
        0.5, "least length of a translation, relative to what is usual for its language", low=0
    )
    longest: float = setting(2.0, "greatest length, likewise", low=1)
    test_files: tuple[str, ...] = setting(
        (), "benchmark files or directories no problem may overlap with, besides MGSM and MSVAMP"
    )
    examples: int = setting(5, "examples of each rule's drops in the data card", low=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixtureSettings:
    """How often each recipe is drawn, relative to the other recipes that fit a problem."""

    instruct: float = setting(1.0, "plain multilingual instruction", low=0)
    xicl: float = setting(0.0, "code-switched demonstrations and question", low=0)
    random_cot: float = setting(0.0, "question in another language first, then the answer", low=0)
    native: float = setting(
        0.0, "question and answer in the language (MathOctopus, parallel)", low=0
    )
    cross: float = setting(
        0.0, "question in the teacher's language, answer in another (MathOctopus, cross)", low=0
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class XiclSettings:
    """Code-switched in-context learning (xCoT, section 3)."""

    lexicon: tuple[str, ...] = setting(
        ("story",),
        "lexicon files (tab-separated, MUSE, Wiktionary extracts of kaikki.org) or directories of "
        'them; or "story", "story-seen" (without the withheld words), "induced" (from the training '
        "problems themselves); earlier ones' translations come first",
    )
    rate: float = setting(0.5, "share that is replaced by translations", low=0, high=1)
    share_of: str = setting(
        "fragments",
        "what the rate is a share of: fragments that the lexicon covers, or all source words",
        choices=("fragments", "words"),
    )
    demonstrations: int = setting(0, "worked examples before the question (B)", low=0)
    side: str = setting(
        "both",
        "what is code-switched; a question that is not stands in the student's language if it can",
        choices=("both", "demonstrations", "query"),
    )
    sources: tuple[str, ...] = setting(
        (),
        "languages that are code-switched, one drawn for each student; none: the teacher's",
        choices=CODES,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class InductionSettings:
    """A lexicon induced from the parallel problems by word alignment."""

    sources: tuple[str, ...] = setting(
        (), "languages translated from; none: those that xICL code-switches", choices=CODES
    )
    iterations: int = setting(
        5, "rounds of expectation maximisation of each alignment model", low=1
    )
    problems: int = setting(
        20_000, "most problems aligned for a language pair, spread evenly over all; 0: all", low=0
    )
    longest_phrase: int = setting(3, "most words of a phrase, on either side", low=1)
    min_count: int = setting(3, "least times a phrase pair is aligned", low=1)
    min_score: float = setting(0.1, "least score of a phrase pair", low=0, high=1)
    candidates: int = setting(3, "most translations of a phrase", low=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomCotSettings:
    """Random-CoT (xCoT, Algorithm 1)."""

    probability: float = setting(
        1.0, "chance that a student restates the question; else it answers directly", low=0, high=1
    )
    translations: str = setting(
        "parallel",
        "where restated questions come from: the problem, or the model of prep.translate.workdir",
        choices=("parallel", "model"),
    )
    loss: bool = setting(True, "whether the restated question bears loss, or is given")
    prompt: str = setting(
        "",
        "what asks for it, with {question} and {language}; empty: the template's own words",
    )


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
    provenance: str = setting("", "origin and licence of the problems, for the data card")
    notes: str = setting("", "what else a reader of the data card should know")
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
    workers: int = setting(0, "processes that make groups; 0: one a core", low=0)
    mixture: MixtureSettings = section(MixtureSettings)
    story: StorySettings = section(StorySettings)
    translate: TranslateSettings = section(TranslateSettings)
    quality: QualitySettings = section(QualitySettings)
    xicl: XiclSettings = section(XiclSettings)
    induction: InductionSettings = section(InductionSettings)
    random_cot: RandomCotSettings = section(RandomCotSettings)
    tokenizer: TokenizerTraining = section(TokenizerTraining)


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
    head_parts: int = setting(
        0, "parts in which a head spread over devices is gathered; 0: chosen by memory", low=0
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimSettings:
    """AdamW with linear warm-up and cosine decay."""

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
    answer_in: str = setting(
        "english",
        "language the answer is asked in: English, or that of the question (MathOctopus)",
        choices=("english", "question"),
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
