"""Settings of data preparation (`xcot prep`)."""

from __future__ import annotations

import dataclasses

from xcot_jax.languages import CODES
from xcot_jax.settings.fields import section, setting


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
    dictionary: float = setting(
        0.0, "a question's words with their translations: the control of xicl", low=0
    )
    native: float = setting(
        0.0, "question and answer in the language (MathOctopus, parallel)", low=0
    )
    cross: float = setting(
        0.0, "question in the teacher's language, answer in another (MathOctopus, cross)", low=0
    )
    monolingual: float = setting(
        0.0, "a question to be continued, in one language a problem: language modelling", low=0
    )

    @property
    def by_lexicon(self) -> tuple[str, ...]:
        """The recipes asked for that need a lexicon."""
        return tuple(name for name in ("xicl", "dictionary") if getattr(self, name) > 0)


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
    teacher_language: str = setting(
        "first",
        "language of teachers: the first of high_resource, or for each problem one drawn from all "
        "of them that ask it",
        choices=("first", "drawn"),
    )
    repeat_low_resource: int = setting(
        1, "groups made of each low-resource question, by fresh draws", low=1
    )
    low_resource_limit: int = setting(
        0,
        "most training problems asked in each low-resource language, the first ones; 0: all",
        low=0,
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
