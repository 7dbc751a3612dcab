"""What the GPU benchmark trains on what: models, packed rows, and the step of this library."""

from __future__ import annotations

import dataclasses
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grain
import jax
import numpy as np

from tests.benchmarks import measuring
from xcot_jax import metrics, sharding
from xcot_jax.data import loader, packing
from xcot_jax.losses import Objective
from xcot_jax.models import lora, transformer
from xcot_jax.models.config import Lora, ModelConfig
from xcot_jax.models.presets import PRESETS
from xcot_jax.optimizer import optimizer
from xcot_jax.settings import MeshSettings, OptimSettings
from xcot_jax.train_step import TrainState, create_state, make_train_step

BETAS = {"CE": 0.0, "CE + KL": 0.5}
COLUMNS = 2  # The teacher and one student.

_TARGETS = ("query", "key", "value", "output", "gate", "up", "down")
_TINY = {"vocab_size": 512, "width": 64, "layers": 2, "heads": 4, "kv_heads": 2, "head_width": 16}


@dataclasses.dataclass(frozen=True)
class Case:
    """A model and its batch.

    Attributes:
      preset: a row of `PRESETS`.
      rank: of the adapters; 0: all weights are trained.
      rows, tokens, slots: of a batch.
      tiny: whether the model keeps its kind but not its size, to try the command anywhere.
    """

    preset: str
    rank: int
    rows: int
    tokens: int = 2_048
    slots: int = 640
    tiny: bool = False

    def small(self) -> Case:
        """The same on a few tokens."""
        return dataclasses.replace(self, rows=2, tokens=1_024, slots=320, tiny=True)

    def config(self, kernel: str) -> ModelConfig:
        """The decoder with this attention kernel; products are bf16."""
        preset = PRESETS[self.preset]
        sizes: dict[str, Any] = _TINY | {"ffn_width": 128} if self.tiny else {}
        return dataclasses.replace(
            preset,
            **sizes,
            compute_dtype="bfloat16",
            remat="dots",
            attention_kernel=kernel,
            lora=Lora(self.rank, 2.0 * self.rank, _TARGETS) if self.rank else None,
        )


CASES = {
    "1b": Case("llama3_2_1b", rank=0, rows=8),
    "7b": Case("llama2_7b", rank=16, rows=4),
}


def random_rows(case: Case, vocabulary: int) -> packing.Ragged:
    """Rows packed as in training from groups of random tokens.

    Prompts have 60 to 160 tokens and answers 60 to 240, as problems of GSM8K do.
    """
    rng = np.random.default_rng(0)
    counts = rng.integers((60, 60, 60), (161, 161, 241), (case.rows * case.tokens // 60, 3))
    groups = [_group(rng, number, *map(int, n), vocabulary) for number, n in enumerate(counts)]
    dataset = grain.MapDataset.source(groups).to_iter_dataset()
    packed = packing.pack(
        dataset, row_tokens=case.tokens, row_slots=case.slots, bins=2 * case.rows, seed=0
    )
    rows = list(itertools.islice(packed, case.rows))
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _group(
    rng: np.random.Generator, number: int, teacher: int, student: int, answer: int, vocabulary: int
) -> packing.Ragged:
    """Two views of one answer, laid out as `packing.encode_group` does."""
    starts = np.array([teacher - 1, teacher + answer - 1 + student - 1])
    lengths = [teacher + answer - 1, student + answer - 1]
    targets = rng.integers(3, vocabulary, answer, dtype=np.int32)
    shape = (answer, COLUMNS)
    return {
        "tokens": rng.integers(3, vocabulary, sum(lengths), dtype=np.int32),
        "positions": np.concatenate([np.arange(n, dtype=np.int32) for n in lengths]),
        "slot_positions": (starts + np.arange(answer)[:, None]).astype(np.int32),
        "targets": np.repeat(targets[:, None], COLUMNS, axis=1),
        "languages": np.zeros(shape, np.int32),
        "ce_weight": np.ones(shape, np.float32),
        "kd_weight": np.ones((answer, COLUMNS - 1), np.float32),
        "records": np.array([number], np.int64),
    }


def problem_rows(case: Case, problems: Path) -> packing.Ragged:
    """Rows of the parallel problems, prepared and packed as in training."""
    from tests.benchmarks.loader import prepared

    with tempfile.TemporaryDirectory() as name:
        settings = prepared(problems, COLUMNS - 1, Path(name) / "data", rows=case.rows)
        data = dataclasses.replace(settings.data, row_tokens=case.tokens, row_slots=case.slots)
        settings = dataclasses.replace(settings, data=data)
        return dict(next(loader.Loader(settings, loader.find_tokenizer(settings))).rows)


class Trainer:
    """One model, whose state the steps of all objectives pass on to each other."""

    def __init__(self, config: ModelConfig, rows: packing.Ragged):
        mesh = sharding.make_mesh(MeshSettings(), jax.devices()[:1])
        axes = lora.trained_part(transformer.logical_axes(config), config)
        tx = optimizer(OptimSettings(), 1_000, axes)
        _, trained = transformer.init(config, 0, mesh, part=lora.trained_part)
        self._frozen: Any = {}
        if config.lora:
            _, self._frozen = transformer.init(
                config, 0, mesh, part=lora.frozen_part, dtype="bfloat16"
            )
        state: TrainState = create_state(trained, config, tx, mesh)
        self._batch = loader.place(rows, sharding.batch_sharding(mesh))
        graph, count = transformer.graph(config), len(rows["tokens"])
        self.losses: dict[str, float] = {}
        self.compile_s: dict[str, float] = {}
        self.temporary_bytes: dict[str, int] = {}
        self._programs: dict[str, Any] = {}
        for name, beta in BETAS.items():
            step = make_train_step(graph, config, tx, Objective(beta=beta), mesh, rows=count)
            begin = time.perf_counter()
            program = step.lower(state, self._frozen, self._batch).compile()
            self.compile_s[name] = time.perf_counter() - begin
            self.temporary_bytes[name] = program.memory_analysis().temp_size_in_bytes
            self._programs[name] = program
        self._state = state

    def calls(self) -> dict[str, Callable[[], Any]]:
        """A step of each objective."""
        return {name: lambda name=name: self._step(name) for name in self._programs}

    def _step(self, name: str) -> Any:
        self._state, measured = self._programs[name](self._state, self._frozen, self._batch)
        self.losses.setdefault(name, float(measured.loss))
        return measured


def ours(case: Case, kernel: str, rows: packing.Ragged, rounds: int) -> dict[str, Any]:
    """Times the training step of this library; `loss` is that of the first steps."""
    trainer = Trainer(case.config(kernel), rows)
    seconds = measuring.interleaved(trainer.calls(), rounds)
    memory = jax.local_devices()[0].memory_stats() or {}
    return {
        "seconds": seconds,
        "median_s": {name: statistics.median(times) for name, times in seconds.items()},
        "peak_bytes": memory.get("peak_bytes_in_use", 0),
        "temporary_bytes": trainer.temporary_bytes,
        "compile_s": trainer.compile_s,
        "loss": trainer.losses,
    }


def work(case: Case, rows: packing.Ragged) -> dict[str, int]:
    """Real tokens, predicted ones, and model FLOPs of a step."""
    return {
        "tokens": int((rows["segment_ids"] > 0).sum()),
        "predicted": int((rows["ce_weight"] > 0).sum()),
        "flops": metrics.training_flops(rows, case.config("plain")),
    }
