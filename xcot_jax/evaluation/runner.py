"""Runs a benchmark: prompts, one call to the model, extraction, scores, and everything saved."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any

from xcot_jax import distributed
from xcot_jax.errors import InputError
from xcot_jax.evaluation import scoring
from xcot_jax.evaluation.benchmarks import BENCHMARKS, Question, load
from xcot_jax.evaluation.extraction import last_number, plain, same_number
from xcot_jax.evaluation.scoring import BenchmarkResult
from xcot_jax.files import AnyPath, write_whole
from xcot_jax.prompts import chosen, direct_prompt, native_prompt
from xcot_jax.settings import Settings

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Generation:
    """What the model said to one prompt.

    Attributes:
      text: the decoded response, without the end-of-text token.
      truncated: whether it was cut off before the model ended it.
      tokens: tokens generated.
    """

    text: str
    truncated: bool
    tokens: int


Generate = Callable[[Sequence[str]], Sequence[Generation]]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One question, what was said to it, and what was made of that."""

    question: Question
    prompt: str
    generation: Generation
    extracted: Decimal | None

    @property
    def correct(self) -> bool:
        """Whether the extracted number is the gold one."""
        return same_number(self.extracted, Decimal(self.question.answer))

    def to_json(self) -> dict[str, Any]:
        """One line of the generations file."""
        return {
            "id": self.question.id,
            "language": self.question.language,
            "question": self.question.question,
            "prompt": self.prompt,
            "text": self.generation.text,
            "extracted": None if self.extracted is None else plain(self.extracted),
            "gold": self.question.answer,
            "correct": self.correct,
            "truncated": self.generation.truncated,
        }


def evaluate(
    generate: Generate, settings: Settings, benchmark: str, *, step: int, out_dir: AnyPath | None
) -> BenchmarkResult:
    """Asks a benchmark's questions, in all languages in one call of `generate`, and scores them.

    Args:
      generate: says something to each prompt, in the order of the prompts.
      settings: the run's settings; its `eval` section says what to ask.
      benchmark: a row of `BENCHMARKS`.
      step: training step of the weights behind `generate`.
      out_dir: where process 0 writes `<benchmark>.jsonl` (every generation) and `results.json` (the
        scores, beside those of other benchmarks); None to write nothing.

    Raises:
      InputError: if the benchmark cannot be read (see `benchmarks.load`) or `results.json` in
        `out_dir` is damaged.
      ValueError: if `generate` does not return one generation a prompt.
    """
    loaded = load(benchmark, settings)
    if loaded.missing:
        _log.warning(
            "%s has no questions in %s: left out",
            BENCHMARKS[benchmark].title,
            ", ".join(loaded.missing),
        )
    limit = settings.eval.limit or None
    questions = [q for asked in loaded.by_language.values() for q in asked[:limit]]
    style = chosen(settings.prep)
    native = settings.eval.answer_in == "question"
    prompts = [
        native_prompt(style, question.question, question.language)
        if native
        else direct_prompt(style, question.question)
        for question in questions
    ]
    generations = generate(prompts)
    if len(generations) != len(prompts):
        raise ValueError(f"{len(prompts)} prompts were given, {len(generations)} generations came")
    outcomes = [
        Outcome(question, prompt, generation, last_number(generation.text))
        for question, prompt, generation in zip(questions, prompts, generations, strict=True)
    ]
    result = score(outcomes, settings, benchmark, step)
    if out_dir is not None and distributed.is_main():
        save(outcomes, result, out_dir)
    return result


def score(
    outcomes: Sequence[Outcome], settings: Settings, benchmark: str, step: int
) -> BenchmarkResult:
    """The scores of these outcomes, language by language."""
    by_language: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_language.setdefault(outcome.question.language, []).append(outcome)
    scores = {
        code: scoring.language_score(
            correct=[outcome.correct for outcome in asked],
            truncated=[outcome.generation.truncated for outcome in asked],
            answered=[outcome.extracted is not None for outcome in asked],
        )
        for code, asked in by_language.items()
    }
    return scoring.summarise(
        settings.name, settings.seed, step, benchmark, scores, settings.high_resource
    )


def save(outcomes: Iterable[Outcome], result: BenchmarkResult, out_dir: AnyPath) -> None:
    """Writes the generations, and the result in place of the same benchmark's former one.

    Raises:
      InputError: if `results.json` is there and cannot be read.
    """
    path = out_dir / "results.json"
    kept: list[dict[str, Any]] = []
    if path.exists():
        try:
            kept = json.loads(path.read_text("utf-8"))["results"]
            kept = [entry for entry in kept if entry["benchmark"] != result.benchmark]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path} is not a results file ({error!r}); move it away and evaluate again"
            ) from error
    out_dir.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(outcome.to_json(), ensure_ascii=False) + "\n" for outcome in outcomes]
    write_whole(out_dir / f"{result.benchmark}.jsonl", "".join(lines))
    text = json.dumps({"results": [*kept, result.to_json()]}, ensure_ascii=False, indent=2)
    write_whole(path, text + "\n")
