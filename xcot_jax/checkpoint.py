"""Checkpoints: state, data pipeline and settings together, written by Orbax."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import jax
import orbax.checkpoint as ocp

from xcot_jax import distributed, integrity
from xcot_jax.errors import InputError
from xcot_jax.files import AnyPath, is_remote
from xcot_jax.settings import Settings
from xcot_jax.train_step import TrainState

_log = logging.getLogger(__name__)


def has_checkpoint(workdir: AnyPath) -> bool:
    """Whether a working directory holds a complete checkpoint."""
    return bool(_complete_steps(workdir / "checkpoints"))


def _complete_steps(directory: AnyPath) -> list[int]:
    """The steps of complete checkpoints, newest first.

    On object storage, where directories cannot be renamed, one that is being written, or never was
    to its end, stands under its final name; Orbax's last file tells them apart.
    """
    remote = is_remote(directory)
    found = [path for path in directory.glob("*") if path.name.isdigit()]
    complete = [path for path in found if not remote or (path / "commit_success.txt").exists()]
    return sorted((int(path.name) for path in complete), reverse=True)


class Checkpoints:
    """The checkpoints of one working directory.

    A checkpoint appears under its final name only when complete, its checksums with it, and the
    newest `keep` stay; an old one goes once a new one is complete. One that is damaged is passed
    over for the one before, with a warning. To be used as a context, which waits at its end until
    everything is written.
    """

    def __init__(self, workdir: AnyPath, *, keep: int = 2, create: bool = True):
        """Looks for checkpoints.

        Args:
          workdir: of the run.
          keep: how many stay.
          create: whether there will be more of them; damaged ones that are newer than the newest
            whole one then get out of the way, under other names.

        Raises:
          InputError: if there is none and none will be, or there are some and all are damaged.
        """
        self.directory = workdir / "checkpoints"
        if not create and not self.directory.is_dir():
            raise InputError(f"{self.directory}: no checkpoint; run xcot train with this --workdir")
        self._newest_whole, damaged = self._search()
        if create:
            self._set_aside(damaged)
        self._manager = ocp.CheckpointManager(
            self.directory if is_remote(self.directory) else self.directory.absolute(),
            item_names=("state", "pipeline", "settings"),
            options=ocp.CheckpointManagerOptions(
                max_to_keep=keep,
                create=create,
                cleanup_tmp_directories=create,
                async_options=ocp.AsyncOptions(post_finalization_callback=self._list_files),
            ),
        )
        self.newest_saved = self._newest_whole
        self._saving: int | None = None
        self._under_way = False

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        try:
            self.close()
        except InputError as error:
            if kind is None:
                raise
            _log.warning("%s", error)  # What ended the run says more.

    def latest_step(self) -> int | None:
        """The newest whole checkpoint there was at the beginning, if any."""
        return self._newest_whole

    def save(
        self, step: int, state: TrainState, pipeline: dict[str, Any], settings: Settings
    ) -> None:
        """Starts writing a checkpoint; returns as soon as the state is copied off the devices.

        Raises:
          InputError: if the one before could not be written.
        """
        if step == self.newest_saved:
            return
        self._wait()
        with self._explained():
            self._saving, self._under_way = step, True
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state),
                    pipeline=ocp.args.JsonSave(_of_all_hosts(pipeline)),
                    settings=ocp.args.JsonSave(dataclasses.asdict(settings)),
                ),
            )
        self.newest_saved = step

    def check(self) -> None:
        """Looks whether the checkpoint under way has failed; does not wait for it.

        Of several processes each tells of it once all know, at the latest in the next `save`.

        Raises:
          InputError: if it has.
        """
        # The manager's check_for_errors would take the error away from the manager's own thread,
        # which then removes an old checkpoint as if there were a new one.
        if self._under_way and not self._manager.is_saving_in_progress():
            self._wait()

    def restore(
        self, abstract: TrainState, shardings: TrainState, step: int | None = None
    ) -> tuple[TrainState, dict[str, Any]]:
        """Reads a checkpoint, the newest by default, into its place on the mesh.

        Returns:
          the state and the states of all input streams, whichever hosts they were on.

        Raises:
          InputError: if there is no checkpoint, or it is of another model or optimizer.
        """
        restored = self._read(
            self._chosen(step),
            state=ocp.args.StandardRestore(_placed(abstract, shardings)),
            pipeline=ocp.args.JsonRestore(),
        )
        return restored.state, restored.pipeline

    def restore_params(
        self, shapes: Any, shardings: Any, step: int | None = None
    ) -> tuple[Any, int]:
        """Reads the parameters alone, as evaluation needs them.

        Returns:
          the parameters and the step they are of.

        Raises:
          InputError: if there is no checkpoint, or it is of another model.
        """
        target = {"params": _placed(shapes, shardings)}
        args = ocp.args.PyTreeRestore(
            item=target,
            restore_args=ocp.checkpoint_utils.construct_restore_args(target),
            partial_restore=True,
        )
        step = self._chosen(step)
        return self._read(step, state=args).state["params"], step

    def _chosen(self, step: int | None) -> int:
        if step is None:
            step = self._newest_whole
        elif why := self._damage(step):
            raise InputError(
                f"{self.directory}/{step} is damaged: {why}; leave --step out for the newest whole "
                "checkpoint"
            )
        if step is None:
            raise InputError(f"{self.directory}: no checkpoint; run xcot train with this --workdir")
        return step

    def _search(self) -> tuple[int | None, dict[int, str]]:
        """The newest whole step, and what is wrong with those after it."""
        damaged: dict[int, str] = {}
        for step in _complete_steps(self.directory):
            why = self._damage(step)
            if not why:
                return step, damaged
            damaged[step] = why
            _log.warning("%s/%s is damaged and passed over: %s", self.directory, step, why)
        if damaged:
            lines = "\n".join(f"  {step}: {why}" for step, why in damaged.items())
            raise InputError(
                f"{self.directory}: none of the checkpoints is whole:\n{lines}\n"
                "bring one back from a copy, or train anew in another --workdir"
            )
        return None, damaged

    def _damage(self, step: int) -> str:
        """What is wrong with a checkpoint; every process reads some of its files."""
        if not (self.directory / str(step)).is_dir():
            return "it is not there"
        part = jax.process_index(), jax.process_count()
        reasons = distributed.gather(integrity.damage(self.directory / str(step), *part))
        return next(filter(None, reasons), "")

    def _set_aside(self, damaged: dict[int, str]) -> None:
        """Renames damaged checkpoints, so that their steps can be saved anew."""
        if distributed.is_main():
            for step in damaged:
                when = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
                aside = self.directory / f"{step}.damaged-{when}"
                (self.directory / str(step)).rename(aside)
                _log.warning("%s holds what was left of step %s; remove it at will", aside, step)
        distributed.barrier("damaged checkpoints are set aside")

    def _list_files(self) -> None:
        """Writes the checksums; Orbax calls it in its own thread, before the last rename."""
        if not distributed.is_main():
            return
        begun = list(self.directory.glob(f"{self._saving}.orbax-checkpoint-tmp*"))
        # Where directories cannot be renamed, files stand under the final name from the beginning.
        (directory,) = begun or [self.directory / str(self._saving)]
        integrity.write_checksums(directory)

    def _wait(self) -> None:
        self._under_way = False
        with self._explained():
            self._manager.wait_until_finished()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # Whatever the storage raises, through several libraries.
            kept = self._kept()
            where = "nothing is saved yet" if kept is None else f"step {kept} is the newest saved"
            raise InputError(
                f"{self.directory}: step {self._saving} could not be saved: {_reason(error)}; "
                f"{where}. Make room, or whatever else it takes; then the same command continues"
            ) from error

    def _kept(self) -> int | None:
        return next((s for s in _complete_steps(self.directory) if s != self._saving), None)

    def _read(self, step: int, **args: Any) -> Any:
        try:
            return self._manager.restore(step, args=ocp.args.Composite(**args))
        except (ValueError, KeyError) as error:
            raise InputError(
                f"{self.directory}/{step}: the checkpoint does not fit the settings' model or "
                f"optimizer; use the settings of {self.directory.parent}/config.json, or a new "
                f"--workdir ({error})"
            ) from error

    def close(self) -> None:
        """Waits until everything is written.

        Raises:
          InputError: if it could not be.
        """
        self._wait()
        with self._explained():
            self._manager.close()


def _of_all_hosts(pipeline: dict[str, Any]) -> dict[str, Any]:
    """The states of all input streams, from those of each host's."""
    parts = distributed.gather(json.dumps(pipeline))
    return {stream: state for part in parts for stream, state in json.loads(part).items()}


def _reason(error: BaseException) -> str:
    """The first line of what was the cause of it all."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _placed(shapes: Any, shardings: Any) -> Any:
    return jax.tree.map(
        lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), shapes, shardings
    )
