"""Settings of evaluation (`xcot eval`, and in the training loop)."""

from __future__ import annotations

import dataclasses

from xcot_jax.languages import CODES
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
