"""`xcot eval`: a trained model asked the questions of benchmarks, and scored."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from jax.sharding import Mesh

from xcot_jax import config as config_files
from xcot_jax import distributed, sharding, weights
from xcot_jax.data.loader import find_tokenizer
from xcot_jax.data.tokenizer import Tokenizer
from xcot_jax.evaluation import runner, scoring
from xcot_jax.files import AnyPath
from xcot_jax.generation import Generator
from xcot_jax.models import transformer
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
        prompts: Sequence[str],
        *,
        progress: bool = False,
        between: Callable[[], None] | None = None,
    ) -> list[runner.Generation]:
        """What the model says to each prompt, most likely token by most likely token."""
        ids = [self._tokenizer.prompt_ids(prompt) for prompt in prompts]
        return [
            runner.Generation(self._tokenizer.decode(g.tokens), g.truncated, len(g.tokens))
            for g in self._generator.generate(params, ids, progress=progress, between=between)
        ]

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
        """Scores the benchmarks of the settings.

        Args:
          params: the weights.
          step: training step they are of.
          limit: problems a language, if not the settings'.
          split: split of the dataset's held-out problems, if not the settings'.
          out_dir: where generations and results are saved, if anywhere.
          progress: whether to show a bar.
          between: called before each batch of prompts; may raise, to end the evaluation.
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
                lambda prompts: self.generate(params, prompts, progress=progress, between=between),
                settings,
                benchmark,
                step=step,
                out_dir=out_dir,
            )
            for benchmark in asked.benchmarks
        ]


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


def evaluate_run(settings: Settings, workdir: AnyPath, *, step: int | None = None) -> None:
    """Scores a checkpoint on the benchmarks of the settings and prints the table, in process 0.

    Writes `eval/results.json`, `eval/<benchmark>.jsonl` with every generation, and the settings
    used.

    Raises:
      InputError: if there is no such checkpoint, or a benchmark cannot be read.
    """
    evaluator, params, step = restore(settings, workdir, step)
    out_dir = workdir / "eval"
    main = distributed.is_main()
    results = evaluator.run(params, step, out_dir=out_dir, progress=main)
    if not main:
        return
    config_files.save(settings, out_dir / "config.json")
    for result in results:
        print(f"\n{result.name}, seed {result.seed}, step {step}: {result.benchmark}")
        print(scoring.result_table(result).text())
    print(f"\ngenerations and results in {out_dir}")
