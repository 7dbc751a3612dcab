"""`xcot train`: from prepared records to a trained model, resumable at any moment."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import jax

from xcot_jax import config as config_files
from xcot_jax import metrics, sharding, weights
from xcot_jax.checkpoint import Checkpoints
from xcot_jax.data import loader
from xcot_jax.data.tokenizer import Tokenizer
from xcot_jax.errors import InputError
from xcot_jax.evaluate import Evaluator
from xcot_jax.evaluation import benchmarks
from xcot_jax.files import write_whole
from xcot_jax.losses import Objective
from xcot_jax.models import lora, transformer
from xcot_jax.models.config import ModelConfig
from xcot_jax.models.counting import parameter_count, trained_count
from xcot_jax.optimizer import optimizer, schedule
from xcot_jax.settings import Settings
from xcot_jax.train_step import (
    abstract_state,
    create_state,
    make_eval_step,
    make_train_step,
    state_shardings,
)

# Settings that may differ between a checkpoint and the run that continues it; what lies at the
# paths among them is compared by content.
_FREE = (
    "name",
    "train.",
    "eval.",
    "prep.",
    "mesh.",
    "data.dir",
    "data.tokenizer",
    "data.prefetch",
    "model.remat",
    "model.init_from",
)


class Stop:
    """Turns SIGTERM and Ctrl-C into a request to stop after the current step."""

    def __init__(self) -> None:
        self.requested = ""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = signal.Signals(number).name


def train(settings: Settings, workdir: Path, *, progress: bool = True) -> None:
    """Trains to `settings.train.steps`, continuing from the newest checkpoint in `workdir`.

    Writes there `config.json`, `metrics.jsonl`, `tensorboard/`, `checkpoints/` and `eval/`. On
    SIGTERM or Ctrl-C the current step is finished and saved.

    Raises:
      InputError: for settings, data or a checkpoint that do not fit together.
    """
    weights.base_config(settings, workdir)  # What cannot be read stops before all else.
    loader.check_prompts(settings)
    tokenizer = loader.find_tokenizer(settings)
    config = weights.model_config(settings, tokenizer, workdir)
    mesh = sharding.make_mesh(settings.mesh)
    batches = loader.Loader(
        settings,
        tokenizer,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    axes = lora.trained_part(transformer.logical_axes(config), config)
    tx = optimizer(settings.optim, settings.train.steps, axes)
    objective = _objective(settings)
    graph = transformer.graph(config)
    step_function = make_train_step(
        graph,
        config,
        tx,
        objective,
        mesh,
        rows=settings.data.batch_rows,
        accumulate=settings.optim.accumulate,
    )
    workdir.mkdir(parents=True, exist_ok=True)
    checkpoints = Checkpoints(workdir, keep=settings.train.keep_checkpoints)
    start = checkpoints.latest_step() or 0
    inputs = loader.fingerprints(settings, tokenizer) | weights.base_fingerprint(settings)
    if start:
        _check_continuation(settings, workdir, inputs)
        state, pipeline = checkpoints.restore(
            abstract_state(config, tx), state_shardings(config, tx, mesh)
        )
        batches.restore(pipeline)
        print(f"resuming {workdir} from step {start}")
    else:
        state = create_state(weights.initial(settings, config, mesh), config, tx, mesh)
    if start >= settings.train.steps:
        print(f"{workdir} is already at step {start} of {settings.train.steps}; nothing to do")
        checkpoints.close()
        return
    frozen = weights.frozen(settings, config, mesh)
    validation = (
        _Validation(settings, config, mesh, tokenizer) if settings.train.eval_every else None
    )
    if jax.process_index() == 0:
        write_whole(workdir / weights.INPUTS_FILE, json.dumps(inputs, indent=2) + "\n")
        config_files.save(settings, workdir / "config.json")
        weights.keep_base_config(settings, workdir)
        print(_summary(settings, config, mesh, batches, tokenizer))

    writer = metrics.MetricsWriter(
        workdir, start=start, steps=settings.train.steps, progress=progress
    )
    rate = schedule(settings.optim, settings.train.steps)
    place = sharding.batch_sharding(mesh)
    throughput = metrics.Throughput()
    pending: tuple[int, Any, dict[str, float]] | None = None

    def flush() -> None:
        # Reading a step's metrics waits for it, so that is done once the next one is under way.
        nonlocal pending
        if pending is not None:
            step, step_metrics, more = pending
            pending = None
            writer.write(step, metrics.as_scalars(step_metrics) | more)

    with Stop() as stop:
        fetched = _timed(batches)
        for step in range(start + 1, settings.train.steps + 1):
            waited, batch = next(fetched)
            state, step_metrics = step_function(state, frozen, loader.place(batch.rows, place))
            writer.advance()
            flush()
            throughput.add(batch.rows, config, waited)
            last = step == settings.train.steps or bool(stop.requested)
            saved = step % settings.train.checkpoint_every == 0 or last
            logged = step % settings.train.log_every == 0 or last or step == start + 1
            if (saved or logged) and not math.isfinite(float(step_metrics.loss)):
                checkpoints.close()
                kept = checkpoints.newest_saved
                where = "nothing is saved yet" if kept is None else f"the last save is step {kept}"
                cause = "lower optim.learning_rate, or look at the records of the last steps"
                if step == 1:
                    cause = "look at the weights it begins with, and at its first records"
                raise InputError(
                    f"{workdir}: the loss of step {step} is {float(step_metrics.loss)}; {where}. "
                    f"{cause[0].upper()}{cause[1:]}"
                )
            if logged:
                more = throughput.read() | {
                    "learning_rate": float(rate(step - 1)),
                    "fill": batch.fill,
                    "records_crc": batch.fingerprint,
                    "dropped_groups": len(batches.dropped.ids),
                }
                pending = step, step_metrics, more
            if saved:
                checkpoints.save(step, state, batch.state, settings)
                throughput.skip()
            if validation and step % settings.train.eval_every == 0:
                flush()
                params = lora.join(state.params, frozen)
                writer.write(step, validation.measure(params, step))
                throughput.skip()
            if stop.requested:  # Perhaps only since the checkpoint above; one step is saved once.
                checkpoints.save(step, state, batch.state, settings)
                break
    flush()
    writer.close()
    checkpoints.close()
    if batches.dropped.ids:
        print(
            f"left out {len(batches.dropped.ids)} groups longer than a row (data.row_tokens="
            f"{settings.data.row_tokens}, data.row_slots={settings.data.row_slots})"
        )
    if stop.requested:
        print(f"{stop.requested}: stopped and saved at step {step}; the same command continues")
        raise SystemExit(128 + signal.Signals[stop.requested].value)
    print(f"trained {settings.name} to step {step}; checkpoint in {checkpoints.directory}")


def _objective(settings: Settings) -> Objective:
    loss = settings.loss
    return Objective(beta=loss.beta, temperature=loss.temperature, chunk_slots=loss.chunk_slots)


def _timed(batches: loader.Loader) -> Iterator[tuple[float, loader.HostBatch]]:
    """Batches with the seconds each took to come."""
    while True:
        begin = time.perf_counter()
        batch = next(batches)
        yield time.perf_counter() - begin, batch


def _check_continuation(settings: Settings, workdir: Path, inputs: dict[str, str]) -> None:
    """Refuses to continue a run whose data, tokenizer or model changed; says what else did."""
    weights.check_inputs(settings, workdir, inputs)
    old = config_files.load(workdir / "config.json")
    changed = config_files.differences(old, settings)
    told = {key: values for key, values in changed.items() if key.startswith(_FREE)}
    refused = {key: values for key, values in changed.items() if key not in told}
    if refused:
        lines = "\n".join(f"  {key}: was {a!r}, now {b!r}" for key, (a, b) in refused.items())
        raise InputError(
            f"{workdir} holds a run with other settings:\n{lines}\n"
            "continue it with its own config.json, or choose a new --workdir"
        )
    for key, (before, now) in told.items():
        print(f"note: {key} was {before!r} and is now {now!r}")


def _summary(
    settings: Settings,
    config: ModelConfig,
    mesh: jax.sharding.Mesh,
    batches: loader.Loader,
    tokenizer: Tokenizer,
) -> str:
    data = settings.data
    form = "messages of the tokenizer's chat template" if tokenizer.chat else "plain text"
    ending = tokenizer.special.get(tokenizer.eos_id, str(tokenizer.eos_id))
    axes = " x ".join(f"{name} {size}" for name, size in mesh.shape.items())
    kind = jax.devices()[0].device_kind
    count = f"{parameter_count(config) / 1e6:.1f}M parameters"
    if config.lora:
        count += f", {trained_count(config) / 1e6:.2f}M of them trained (rank {config.lora.rank})"
    return (
        f"{settings.name}: {count}, vocabulary "
        f"{config.vocab_size}; {mesh.size} {kind} device(s), mesh {axes}\n"
        f"{batches.groups} groups; a step is {data.batch_rows} rows of {data.row_tokens} tokens "
        f"({data.batch_rows * data.row_tokens} tokens, {data.row_slots} x {data.students + 1} loss "
        f"slots a row); beta {settings.loss.beta}, T {settings.loss.temperature}\n"
        f"prompts are {form}; answers end in {ending}"
    )


class _Validation:
    """What is measured in the loop: losses on the validation split, a few benchmark problems."""

    def __init__(
        self, settings: Settings, config: ModelConfig, mesh: jax.sharding.Mesh, tokenizer: Tokenizer
    ):
        self._settings, self._mesh = settings, mesh
        objective = _objective(settings)
        self._step = make_eval_step(transformer.graph(config), objective, mesh)
        self._evaluator = Evaluator(settings, config, mesh, tokenizer)
        if settings.train.eval_limit:
            for benchmark in settings.eval.benchmarks:
                benchmarks.load(benchmark, settings)  # What cannot be read stops before step 1.
        self._batches = loader.evaluation_batches(
            settings, tokenizer, "validation", settings.train.eval_batches
        )

    def measure(self, params: Any, step: int) -> dict[str, float]:
        """Scalars of `validation/` losses and `eval/<benchmark>/` accuracies."""
        scalars: dict[str, float] = {}
        if self._batches:
            place = sharding.batch_sharding(self._mesh)
            rows = self._settings.data.batch_rows // jax.process_count()
            own = slice(jax.process_index() * rows, (jax.process_index() + 1) * rows)
            parts = [
                self._step(params, loader.place({k: v[own] for k, v in batch.items()}, place))
                for batch in self._batches
            ]
            scalars |= metrics.as_scalars(metrics.combine(parts), "validation/")
        limit = self._settings.train.eval_limit
        if limit:
            for result in self._evaluator.run(params, step, limit=limit, split="validation"):
                for name in ("high_mean", "low_mean"):
                    if (value := getattr(result, name)) is not None:
                        scalars[f"eval/{result.benchmark}/{name}"] = value
        return scalars
