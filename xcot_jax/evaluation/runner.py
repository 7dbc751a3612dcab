"""Runs a benchmark in a mode: conversations, extraction, scores, and everything saved."""

from __future__ import annotations

import collections
import dataclasses
import json
import logging
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from xcot_jax import distributed
from xcot_jax.errors import InputError
from xcot_jax.evaluation import demonstrations, modes
from xcot_jax.evaluation.answers import DIRECT, Answer, file_stem
from xcot_jax.evaluation.benchmarks import BENCHMARKS, load
from xcot_jax.evaluation.conversations import converse
from xcot_jax.evaluation.measures import measure
from xcot_jax.evaluation.outcomes import Outcome, outcome
from xcot_jax.evaluation.requests import Generate
from xcot_jax.evaluation.scoring import BenchmarkResult, Table
from xcot_jax.evaluation.voting import vote_table
from xcot_jax.files import AnyPath, write_whole
from xcot_jax.prompts import chosen
from xcot_jax.settings import Settings

_log = logging.getLogger(__name__)


def check(settings: Settings) -> None:
    """Checks that all the benchmarks and modes of `eval` can be asked.

    Raises:
      InputError: if one is unknown or cannot be read.
    """
    for name in settings.eval.modes:
        if kind := modes.mode(name).shows:
            demonstrations.read(settings, kind)
    for name in settings.eval.benchmarks:
        load(name, settings)


def evaluate(
    generate: Generate,
    settings: Settings,
    benchmark: str,
    *,
    step: int,
    out_dir: AnyPath | None,
    mode: str = DIRECT,
) -> BenchmarkResult:
    """Asks a benchmark's questions, a round in all languages a call of `generate`, and scores them.

    Args:
      generate: answers requests, in their order.
      settings: the run's settings; its `eval` section says what to ask.
      benchmark: a row of `BENCHMARKS`.
      step: training step of the weights behind `generate`.
      out_dir: where process 0 writes `<benchmark>.jsonl` (every generation; in a mode other than
        `direct`, `<benchmark>.<mode>.jsonl`) and `results.json` (the scores, beside those of other
        benchmarks and modes); None to write nothing.
      mode: a row of `modes.MODES`.

    Raises:
      InputError: if there is no such mode, the benchmark or the demonstrations cannot be read, or
        `results.json` in `out_dir` is damaged.
      ValueError: if `generate` does not return one generation a request.
    """
    row = modes.mode(mode)
    loaded = load(benchmark, settings)
    if loaded.missing:
        _log.warning(
            "%s has no questions in %s: left out",
            BENCHMARKS[benchmark].title,
            ", ".join(loaded.missing),
        )
    limit = settings.eval.limit or None
    questions = [q for asked in loaded.by_language.values() for q in asked[:limit]]
    shown = demonstrations.read(settings, row.shows) if row.shows else {}
    parallel = _parallel(benchmark, settings) if row.parallel else {}
    manner = modes.Manner(chosen(settings.prep), settings.eval, shown, parallel)
    said = converse([row.converse(question, manner) for question in questions], generate)
    outcomes = [
        outcome(question, mode, row, reply, turns)
        for question, (reply, turns) in zip(questions, said, strict=True)
    ]
    result = score(outcomes, settings, benchmark, step, mode)
    if out_dir is not None and distributed.is_main():
        save(outcomes, result, out_dir)
    return result


def _parallel(benchmark: str, settings: Settings) -> dict[str, dict[str, str]]:
    """Id of a problem -> language of the vote -> its question.

    Raises:
      InputError: if the benchmark has no question in any language of the vote.
    """
    codes = settings.eval.vote_languages
    asked = dataclasses.replace(settings.eval, languages=codes)
    loaded = load(benchmark, dataclasses.replace(settings, eval=asked))
    questions: dict[str, dict[str, str]] = collections.defaultdict(dict)
    for code, rows in loaded.by_language.items():
        for row in rows:
            questions[row.id][code] = row.question
    return questions


def score(
    outcomes: Sequence[Outcome], settings: Settings, benchmark: str, step: int, mode: str = DIRECT
) -> BenchmarkResult:
    """The scores of these outcomes, language by language."""
    return measure(
        [Answer.from_json(outcome.to_json()) for outcome in outcomes],
        name=settings.name,
        seed=settings.seed,
        step=step,
        benchmark=benchmark,
        high_resource=settings.high_resource,
        mode=mode,
        native=settings.eval.answer_in == "question",
    )


def save(outcomes: Iterable[Outcome], result: BenchmarkResult, out_dir: AnyPath) -> None:
    """Writes the generations, and the result in place of the same benchmark's and mode's former.

    Raises:
      InputError: if `results.json` is there and cannot be read.
    """
    path = out_dir / "results.json"
    kept: list[dict[str, Any]] = []
    key = (result.benchmark, result.mode)
    if path.exists():
        try:
            kept = json.loads(path.read_text("utf-8"))["results"]
            kept = [e for e in kept if (e["benchmark"], e.get("mode", DIRECT)) != key]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path} is not a results file ({error!r}); move it away and evaluate again"
            ) from error
    out_dir.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(outcome.to_json(), ensure_ascii=False) + "\n" for outcome in outcomes]
    write_whole(out_dir / f"{file_stem(*key)}.jsonl", "".join(lines))
    text = json.dumps({"results": [*kept, result.to_json()]}, ensure_ascii=False, indent=2)
    write_whole(path, text + "\n")


def votes(
    result: BenchmarkResult, out_dir: AnyPath, high_resource: Collection[str]
) -> Table | None:
    """What a result's votes gained over single answers, from the saved generations.

    Returns:
      see `voting.vote_table`; None if nothing was voted on.
    """
    if not modes.mode(result.mode).votes:
        return None
    text = (out_dir / f"{file_stem(result.benchmark, result.mode)}.jsonl").read_text("utf-8")
    lines = [json.loads(line) for line in text.split("\n") if line]
    return vote_table(lines, high_resource)
