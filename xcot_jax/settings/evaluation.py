"""Settings of evaluation (`xcot eval`, and in the training loop)."""

from __future__ import annotations

import dataclasses

from xcot_jax.languages import CODES, HIGH_RESOURCE
from xcot_jax.settings.fields import setting


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
    modes: tuple[str, ...] = setting(
        ("direct",), "ways to ask, one after another, rows of xcot_jax.evaluation.modes.MODES"
    )
    answer_in: str = setting(
        "english",
        "language the answer is asked in: English, or that of the question (MathOctopus)",
        choices=("english", "question"),
    )
    translate_to: str = setting(
        "en",
        "language the model says or understands the question in (translate, pivot, clp)",
        choices=CODES,
    )
    vote_languages: tuple[str, ...] = setting(
        HIGH_RESOURCE, "languages whose answers are voted on (clsp, clc*)", choices=CODES
    )
    samples: int = setting(
        4, "sampled answers voted on (self_consistency), in each language (clc*)", low=1
    )
    temperature: float = setting(0.7, "of sampled answers; the others are greedy", low=0)
    top_p: float = setting(
        0.95, "sampled tokens are of the fewest that hold this share", low=0, high=1
    )
    seed: int = setting(0, "of sampled answers", low=0)
    shots: int = setting(
        4, "demonstrations shown before a question (few_shot, few_shot_switched)", low=1
    )
    demonstrations: str = setting(
        "", "JSON Lines file of demonstrations; empty: the dataset's training problems"
    )
    limit: int = setting(0, "problems a language; 0: all", low=0)
    batch_size: int = setting(64, "prompts generated together", low=1)
    max_new_tokens: int = setting(256, "tokens generated before giving up", low=1)
    mgsm_dir: str = setting("", "directory of mgsm_<code>.tsv files, or hf:juletxara/mgsm")
    msvamp_dir: str = setting(
        "", "directory of test_<Language>.json files, or hf:Mathoctopus/MSVAMP"
    )
    jsonl: str = setting(
        "", "JSON Lines file of benchmark jsonl, hf:OWNER/NAME/FILE, or tfds:NAME[/CONFIG]:SPLIT"
    )
    jsonl_fields: tuple[str, ...] = setting(
        ("id", "language", "question", "answer"), "what that file calls these fields, in this order"
    )
