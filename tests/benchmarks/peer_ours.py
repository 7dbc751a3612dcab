"""Our side of the comparison: packed rows and the step of `xcot train`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tests.benchmarks import peer_examples
from tests.benchmarks.peer_worker import Spec
from xcot_jax import sharding
from xcot_jax.data import loader
from xcot_jax.losses import Objective
from xcot_jax.models import transformer
from xcot_jax.models.config import ModelConfig
from xcot_jax.optimizer import optimizer
from xcot_jax.settings import MeshSettings, OptimSettings
from xcot_jax.train_step import create_state, make_train_step

OPTIM = OptimSettings(warmup_steps=0)
"""Every side's rates, decay and clipping; the schedule's first step is like any other."""


class Stepper:
    """The training step on batches of packed rows, with a state of its own."""

    warm = [0]

    def __init__(
        self,
        config: ModelConfig,
        beta: float,
        batches: Sequence[Mapping[str, np.ndarray]],
        params: Any = None,
    ):
        mesh = sharding.make_mesh(MeshSettings(), jax.devices()[:1])
        tx = optimizer(OPTIM, 1_000, transformer.logical_axes(config))
        if params is None:
            params = transformer.init(config, 0, mesh)[1]
        self._state = create_state(params, config, tx, mesh)
        rows = len(batches[0]["tokens"])
        graph = transformer.graph(config)
        self._step = make_train_step(graph, config, tx, Objective(beta=beta), mesh, rows=rows)
        self._batches, self._place = batches, sharding.batch_sharding(mesh)

    def __call__(self, batch: int) -> dict[str, float]:
        """One step on one batch."""
        placed = loader.place(dict(self._batches[batch]), self._place)
        self._state, measured = self._step(self._state, {}, placed)
        return {"loss": float(measured.loss), "norm": float(measured.gradient_norm)}


def stepper(spec: Spec) -> Stepper:
    """The side of a worker."""
    config = ModelConfig(**spec.sizes, compute_dtype="float32")  # type: ignore[arg-type]
    return Stepper(config, spec.beta, peer_examples.load(Path(spec.directory)))
