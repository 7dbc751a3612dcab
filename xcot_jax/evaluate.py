"""`xcot eval`: a model asked the questions of benchmarks, and scored."""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from jax.sharding import Mesh

from xcot_jax import config as config_files
from xcot_jax import distributed, sharding, weights
from xcot_jax.data.chat import CHAT_TEMPLATE, marked
from xcot_jax.data.loader import find_tokenizer
from xcot_jax.data.tokenizer import Tokenizer
from xcot_jax.errors import InputError
from xcot_jax.evaluation import runner, scoring
from xcot_jax.evaluation.benchmarks import BENCHMARKS
from xcot_jax.evaluation.modes import MODES
from xcot_jax.evaluation.requests import Generation, Request
from xcot_jax.files import AnyPath
from xcot_jax.generation import Generator, Task
from xcot_jax.models import hf, transformer
from xcot_jax.models.config import ModelConfig
from xcot_jax.settings import Settings


class Evaluator:
    """Asks one model; keeps what is compiled between benchmarks and evaluations of a run."""

    def __init__(self, settings: Settings, config: ModelConfig, mesh: Mesh, tokenizer: Tokenizer):
        self._settings = settings
        self._tokenizer = tokenizer
        self._generator = Generator(
            transformer.graph(config),
            mesh,
            eos_id=tokenizer.eos_id,
            pad_id=tokenizer.pad_id,
            batch_size=settings.eval.batch_size,
            max_new_tokens=settings.eval.max_new_tokens,
        )

    def generate(
        self,
        params: Any,
        requests: Sequence[Request],
        *,
        progress: bool = False,
        between: Callable[[], None] | None = None,
    ) -> list[Generation]:
        """What the model says to each request, whatever is asked beside it.

        Stop strings are looked for in the decoded text, as they may begin and end within tokens:
        every few steps, to free the row, and at the end, to cut the text where it has to be cut.

        Args:
          params: the weights.
          requests: what to continue, and how.
          progress: whether to show a bar.
          between: called every few steps; may raise, to end it all.
        """
        tasks = [
            Task(
                self._tokenizer.prompt_ids(request.prompt),
                temperature=request.temperature,
                top_p=request.top_p,
                seed=request.seed,
            )
            for request in requests
        ]

        def stopped(number: int, tokens: list[int]) -> bool:
            stop = requests[number].stop
            return bool(stop) and _first_stop(self._tokenizer.decode(tokens), stop) is not None

        said = self._generator.generate(
            params, tasks, progress=progress, between=between, stopped=stopped
        )
        return [
            self._cut(request.stop, answer.tokens, answer.truncated)
            for request, answer in zip(requests, said, strict=True)
        ]

    def _cut(self, stop: Sequence[str], tokens: list[int], truncated: bool) -> Generation:
        """The text up to the first stop string, of the tokens up to the one that completes it."""
        decode = self._tokenizer.decode
        text, count = decode(tokens), len(tokens)
        if stop and _first_stop(text, stop) is not None:
            count = bisect.bisect_left(
                range(count),
                True,
                key=lambda n: _first_stop(decode(tokens[:n]), stop) is not None,
            )
            text, truncated = decode(tokens[:count]), False
            text = text[: _first_stop(text, stop)]
        return Generation(text, truncated, count)

    def run(
        self,
        params: Any,
        step: int,
        *,
        limit: int | None = None,
        split: str | None = None,
        out_dir: AnyPath | None = None,
        progress: bool = False,
        between: Callable[[], None] | None = None,
    ) -> list[scoring.BenchmarkResult]:
        """Scores the benchmarks of the settings, in each of the modes.

        Args:
          params: the weights.
          step: training step they are of.
          limit: problems a language, if not the settings'.
          split: split of the dataset's held-out problems, if not the settings'.
          out_dir: where generations and results are saved, if anywhere.
          progress: whether to show a bar.
          between: called every few steps of generation; may raise, to end the evaluation.
        """
        changes: dict[str, Any] = {}
        if limit is not None:
            changes["limit"] = limit
        if split is not None:
            changes["split"] = split
        asked = dataclasses.replace(self._settings.eval, **changes)
        settings = dataclasses.replace(self._settings, eval=asked)
        return [
            runner.evaluate(
                lambda requests: self.generate(
                    params, requests, progress=progress, between=between
                ),
                settings,
                benchmark,
                step=step,
                out_dir=out_dir,
                mode=mode,
            )
            for benchmark in asked.benchmarks
            for mode in asked.modes
        ]


def _first_stop(text: str, stop: Sequence[str]) -> int | None:
    """Where the first of these strings begins; None if none is there."""
    found = [place for string in stop if (place := text.find(string)) >= 0]
    return min(found, default=None)


def restore(
    settings: Settings, workdir: AnyPath, step: int | None = None
) -> tuple[Evaluator, Any, int]:
    """Reads a trained run, to ask it.

    Args:
      settings: of the run.
      workdir: of the run.
      step: of the checkpoint; the newest if not given.

    Returns:
      what asks the model, its parameters, and their step.

    Raises:
      InputError: if there is no such checkpoint, or it is of another model.
    """
    tokenizer = find_tokenizer(settings)
    weights.check_run(settings, workdir, tokenizer)
    config = weights.model_config(settings, tokenizer, workdir)
    mesh = sharding.make_mesh(settings.mesh)
    params, step = weights.trained(settings, config, mesh, workdir, step)
    return Evaluator(settings, config, mesh, tokenizer), params, step


def pretrained(settings: Settings, *, own_template: bool) -> tuple[Evaluator, Any, Settings]:
    """Reads the Hugging Face model of `model.init_from`, in the compute type.

    Args:
      settings: where the model and its tokenizer are, and how it is asked.
      own_template: whether `prep.template` is the user's wish; else an export of ours is asked as
        it was trained, and chat models by the template "chat".

    Returns:
      what asks the model, its parameters, and the settings with the template it is asked by.

    Raises:
      InputError: if the directory holds no model the decoder can be, or no tokenizer.
    """
    weights.base_config(settings)  # Before the tokenizer: the clearer message.
    tokenizer = find_tokenizer(settings)
    config = weights.model_config(settings, tokenizer)
    mesh = sharding.make_mesh(settings.mesh)
    directory = weights.base_directory(settings)
    params = hf.load(directory, config, mesh, config.compute_dtype)
    if not own_template:
        exported = directory / CHAT_TEMPLATE
        words = marked(exported.read_text(encoding="utf-8")) if exported.exists() else None
        template = words or ("chat" if tokenizer.chat else settings.prep.template)
        prep = dataclasses.replace(settings.prep, template=template)
        settings = dataclasses.replace(settings, prep=prep)
    return Evaluator(settings, config, mesh, tokenizer), params, settings


def evaluate_run(settings: Settings, workdir: AnyPath, *, step: int | None = None) -> None:
    """Scores a checkpoint on the benchmarks of the settings and prints tables, in process 0.

    Writes `eval/results.json`, `eval/<benchmark>.jsonl` with every generation (in a mode other than
    `direct`, `eval/<benchmark>.<mode>.jsonl`), and the settings used.

    Raises:
      InputError: if there is no such checkpoint, benchmark or mode, or one cannot be read.
    """
    runner.check(settings)  # Before the model is read: the sooner message.
    evaluator, params, step = restore(settings, workdir, step)
    _score(evaluator, params, step, settings, workdir)


def evaluate_model(settings: Settings, workdir: AnyPath, *, own_template: bool) -> None:
    """Scores a Hugging Face model as `evaluate_run` does a run, whose directory `workdir` becomes.

    Args:
      settings: of the evaluation; `model.init_from` is the model.
      workdir: for the settings and results; there may be some of the same model.
      own_template: see `pretrained`.

    Raises:
      InputError: if `workdir` is of something else, or what `pretrained` and `evaluate_run` raise.
    """
    saved = workdir / "config.json"
    if saved.exists():
        theirs = config_files.load(saved).model.init_from
        if theirs != settings.model.init_from or (workdir / "checkpoints").exists():
            raise InputError(f"{workdir} holds another run; choose another --workdir")
    runner.check(settings)
    evaluator, params, settings = pretrained(settings, own_template=own_template)
    if distributed.is_main():
        workdir.mkdir(parents=True, exist_ok=True)
        config_files.save(settings, saved)
    _score(evaluator, params, 0, settings, workdir)


def _score(
    evaluator: Evaluator, params: Any, step: int, settings: Settings, workdir: AnyPath
) -> None:
    out_dir = workdir / "eval"
    main = distributed.is_main()
    results = evaluator.run(params, step, out_dir=out_dir, progress=main)
    if not main:
        return
    config_files.save(settings, out_dir / "config.json")
    for result in results:
        title = f"{BENCHMARKS[result.benchmark].title}, {MODES[result.mode].title}"
        print(f"\n{result.name}, seed {result.seed}, step {step}: {title}")
        print(scoring.result_table(result).text())
        if votes := runner.votes(result, out_dir, settings.high_resource):
            print(votes.text())
    print(f"\ngenerations and results in {out_dir}")
