"""What is measured in the loop: losses on the validation split, a few benchmark problems."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jax.sharding import Mesh

from xcot_jax import metrics, sharding
from xcot_jax.data import loader
from xcot_jax.data.tokenizer import Tokenizer
from xcot_jax.evaluate import Evaluator
from xcot_jax.evaluation import runner
from xcot_jax.evaluation.answers import file_stem
from xcot_jax.losses import Objective
from xcot_jax.models import transformer
from xcot_jax.models.config import ModelConfig
from xcot_jax.settings import Settings
from xcot_jax.train_step import make_eval_step


class Interrupted(Exception):
    """The run is to stop, and an evaluation with it."""


def due(settings: Settings, step: int) -> bool:
    """Whether a step is one after which the model is measured."""
    return bool(settings.train.eval_every and step and step % settings.train.eval_every == 0)


class Validation:
    """Measures a model now and then; what is compiled and read is kept.

    Raises:
      InputError: if a benchmark cannot be read.
    """

    def __init__(
        self,
        settings: Settings,
        config: ModelConfig,
        objective: Objective,
        mesh: Mesh,
        tokenizer: Tokenizer,
    ):
        self._settings, self._mesh = settings, mesh
        self._step = make_eval_step(transformer.graph(config), objective, mesh)
        self._evaluator = Evaluator(settings, config, mesh, tokenizer)
        if settings.train.eval_limit:
            runner.check(settings)  # What cannot be read stops before step 1.
        self._batches = loader.evaluation_batches(
            settings, tokenizer, "validation", settings.train.eval_batches
        )

    def measure(self, params: Any, step: int, stopping: Callable[[], bool]) -> dict[str, float]:
        """Scalars of `validation/` losses and `eval/<benchmark>[.<mode>]/` accuracies.

        Args:
          params: all weights.
          step: they are of.
          stopping: asked between batches.

        Raises:
          Interrupted: once `stopping` says so.
        """

        def look() -> None:
            if stopping():
                raise Interrupted

        scalars: dict[str, float] = {}
        if self._batches:
            place = sharding.batch_sharding(self._mesh)
            parts = []
            for batch in self._batches:
                look()
                parts.append(self._step(params, loader.place(batch, place)))
            scalars |= metrics.as_scalars(metrics.combine(parts), "validation/")
        limit = self._settings.train.eval_limit
        if limit:
            for result in self._evaluator.run(
                params, step, limit=limit, split="validation", between=look
            ):
                prefix = f"eval/{file_stem(result.benchmark, result.mode)}"
                for name in ("high_mean", "low_mean"):
                    for kind, means in (("", result), ("strict_", result.strict)):
                        if (value := getattr(means, name)) is not None:
                            scalars[f"{prefix}/{kind}{name}"] = value
        return scalars
