"""`xcot train`: from prepared records to a trained model, resumable at any moment."""

from __future__ import annotations

import contextlib
import time

import jax

from xcot_jax import continuation, distributed, metrics, runlock, sharding, weights
from xcot_jax.checkpoint import Checkpoints
from xcot_jax.data import epochs, loader
from xcot_jax.data.tokenizer import Tokenizer
from xcot_jax.errors import InputError
from xcot_jax.files import AnyPath
from xcot_jax.journal import Journal
from xcot_jax.losses import Objective
from xcot_jax.models import lora, transformer
from xcot_jax.models.config import ModelConfig
from xcot_jax.models.counting import parameter_count, trained_count
from xcot_jax.optimizer import optimizer
from xcot_jax.settings import Settings
from xcot_jax.signals import Stop
from xcot_jax.train_step import (
    TrainState,
    abstract_state,
    create_state,
    make_train_step,
    state_shardings,
)
from xcot_jax.validation import Interrupted, Validation
from xcot_jax.validation import due as validation_due


def train(
    settings: Settings, workdir: AnyPath, *, progress: bool = True, stop: Stop | None = None
) -> None:
    """Trains to `settings.train.steps`, continuing from the newest checkpoint in `workdir`.

    Writes there `config.json`, `metrics.jsonl`, `tensorboard/`, `checkpoints/` and `eval/`. On
    SIGTERM or Ctrl-C the step under way is finished and saved, an evaluation broken off.

    Args:
      settings: of the run.
      workdir: of the run.
      progress: whether to show a bar.
      stop: what has noted signals since the command began.

    Raises:
      InputError: for settings, data or a checkpoint that do not fit together; for losses that are
        not finite; where `workdir` is in use or cannot be written to.
      SystemExit: where a signal stopped it.
    """
    weights.base_config(settings, workdir)  # What cannot be read stops before all else.
    loader.check_prepared(settings)
    tokenizer = loader.find_tokenizer(settings)
    settings = epochs.resolve(settings, tokenizer)
    config = weights.model_config(settings, tokenizer, workdir)
    mesh = sharding.make_mesh(settings.mesh)
    place = sharding.batch_sharding(mesh)
    held = sharding.held_rows(place, settings.data.batch_rows)
    batches = loader.Loader(settings, tokenizer, numbers=held)
    axes = lora.trained_part(transformer.logical_axes(config), config)
    tx = optimizer(settings.optim, settings.train.steps, axes)
    objective = Objective(**vars(settings.loss))
    step_function = make_train_step(
        transformer.graph(config),
        config,
        tx,
        objective,
        mesh,
        rows=settings.data.batch_rows,
        accumulate=settings.optim.accumulate,
    )
    inputs = loader.fingerprints(settings, tokenizer) | weights.base_fingerprint(settings)
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(stop or Stop())
        stack.enter_context(runlock.hold(workdir))
        keep = settings.train.keep_checkpoints
        checkpoints = stack.enter_context(Checkpoints(workdir, keep=keep))
        start = checkpoints.latest_step() or 0
        # A run may have ended between a checkpoint and the evaluation that was due then.
        owed = validation_due(settings, start) and not metrics.evaluated(workdir, start)
        stop.before_the_first_step()
        if start:
            continuation.check(settings, workdir, inputs)
            state, pipeline = checkpoints.restore(
                abstract_state(config, tx), state_shardings(config, tx, mesh)
            )
            batches.restore(pipeline)
            print(f"resuming {workdir} from step {start}")
        else:
            state = create_state(weights.initial(settings, config, mesh), config, tx, mesh)
        if start >= settings.train.steps and not owed:
            print(f"{workdir} is already at step {start} of {settings.train.steps}; nothing to do")
            return
        stop.before_the_first_step()
        frozen = weights.frozen(settings, config, mesh)
        validation = None
        if settings.train.eval_every:
            validation = Validation(settings, config, objective, mesh, tokenizer)
        if distributed.is_main():
            continuation.keep(settings, workdir, inputs)
            print(_summary(settings, config, mesh, batches, tokenizer))
        writer = metrics.MetricsWriter(
            workdir, start=start, steps=settings.train.steps, progress=progress
        )
        stack.callback(writer.close)
        journal = Journal(
            settings,
            config,
            workdir,
            writer,
            batches,
            lambda: checkpoints.newest_saved,
            start=start,
            skipped=int(state.skipped),
        )

        def evaluated(step: int, state: TrainState) -> bool:
            """Measures a state; whether that came to its end."""
            assert validation is not None
            journal.settle()
            params = lora.join(state.params, frozen)
            try:
                writer.write(step, validation.measure(params, step, stop.anywhere))
            except Interrupted:
                return False
            journal.pause()
            return True

        stop.before_the_first_step()
        step, stopping = start, owed and not evaluated(start, state)
        while step < settings.train.steps and not stopping:
            begin = time.perf_counter()
            try:
                batch = next(batches)
            except (InputError, OSError):
                if step > start and jax.process_count() == 1:  # Others would not save with it.
                    journal.settle()
                    checkpoints.save(step, state, pipeline, settings)
                raise
            waited = time.perf_counter() - begin
            step, pipeline = step + 1, batch.state
            state, found = step_function(state, frozen, batch.place(place))
            journal.add(step, found, batch, waited)
            checkpoints.check()
            stopping = stop.anywhere()
            last = stopping or step == settings.train.steps
            if last or step % settings.train.checkpoint_every == 0:
                journal.settle()  # What is saved is known to be sound, and its metrics written.
                checkpoints.save(step, state, pipeline, settings)
                journal.pause()
            if validation_due(settings, step) and not stopping and not evaluated(step, state):
                checkpoints.save(step, state, pipeline, settings)
                stopping = True
        journal.settle()
    if batches.dropped.ids:
        where = f" on host {jax.process_index()}" if jax.process_count() > 1 else ""
        print(
            f"left out {len(batches.dropped.ids)} groups longer than a row{where} (data.row_tokens="
            f"{settings.data.row_tokens}, data.row_slots={settings.data.row_slots})"
        )
    if stopping:
        print(f"{stop.name}: stopped and saved at step {step}; the same command continues")
        raise SystemExit(stop.status)
    print(f"trained {settings.name} to step {step}; checkpoint in {checkpoints.directory}")


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
    passes = ""
    if settings.train.epochs:
        passes = f" in {settings.train.epochs:g} epochs, {settings.train.steps} steps"
    axes = " x ".join(f"{name} {size}" for name, size in mesh.shape.items())
    kind = jax.devices()[0].device_kind
    count = f"{parameter_count(config) / 1e6:.1f}M parameters"
    if config.lora:
        count += f", {trained_count(config) / 1e6:.2f}M of them trained (rank {config.lora.rank})"
    return (
        f"{settings.name}: {count}, vocabulary "
        f"{config.vocab_size}; {mesh.size} {kind} device(s), mesh {axes}\n"
        f"{batches.groups} groups{passes}; a step is {data.batch_rows} rows of {data.row_tokens} "
        f"tokens ({data.batch_rows * data.row_tokens} tokens, {data.row_slots} x "
        f"{data.students + 1} loss slots a row); beta {settings.loss.beta}, "
        f"T {settings.loss.temperature}\n"
        f"prompts are {form}; answers end in {ending}"
    )
