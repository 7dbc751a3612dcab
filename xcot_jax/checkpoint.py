"""Checkpoints: state, data pipeline and settings together, written by Orbax."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import grain
import jax
import orbax.checkpoint as ocp

from xcot_jax.errors import InputError
from xcot_jax.settings import Settings
from xcot_jax.train_step import TrainState


class _PipelineState:
    """What Grain's Orbax handler saves and restores, one file a host.

    It is a state, not a live iterator.
    """

    def __init__(self, state: dict[str, Any] | None = None):
        self.state = state

    def get_state(self) -> bytes:
        return json.dumps(self.state).encode()

    def set_state(self, state: bytes) -> None:
        self.state = json.loads(state)

    def start_prefetch(self) -> None:
        """Called by the handler after restoring; there is nothing to start."""


def has_checkpoint(workdir: Path) -> bool:
    """Whether a working directory holds a complete checkpoint."""
    return any(path.name.isdigit() for path in (workdir / "checkpoints").glob("*"))


class Checkpoints:
    """The checkpoints of one working directory.

    A checkpoint appears under its final name only when complete, and the newest `keep` stay.
    """

    def __init__(self, workdir: Path, *, keep: int = 2, create: bool = True):
        self.directory = workdir / "checkpoints"
        if not create and not self.directory.is_dir():
            raise InputError(f"{self.directory}: no checkpoint; run xcot train with this --workdir")
        self._manager = ocp.CheckpointManager(
            self.directory.absolute(),
            item_names=("state", "pipeline", "settings"),
            options=ocp.CheckpointManagerOptions(max_to_keep=keep, create=create),
        )
        self.newest_saved = self._manager.latest_step()

    def latest_step(self) -> int | None:
        """The step of the newest complete checkpoint, if there is one."""
        return self._manager.latest_step()

    def save(
        self, step: int, state: TrainState, pipeline: dict[str, Any], settings: Settings
    ) -> None:
        """Starts writing a checkpoint; returns as soon as the state is copied off the devices."""
        if step == self.newest_saved:
            return
        self.newest_saved = step
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state),
                pipeline=grain.checkpoint.CheckpointSave(_PipelineState(pipeline)),
                settings=ocp.args.JsonSave(dataclasses.asdict(settings)),
            ),
        )

    def restore(
        self, abstract: TrainState, shardings: TrainState, step: int | None = None
    ) -> tuple[TrainState, dict[str, Any]]:
        """Reads a checkpoint, the newest by default, into its place on the mesh.

        Returns:
          the state and this host's pipeline state.

        Raises:
          InputError: if there is no checkpoint, or it is of another model or optimizer.
        """
        pipeline = _PipelineState()
        restored = self._read(
            self._newest() if step is None else step,
            state=ocp.args.StandardRestore(_placed(abstract, shardings)),
            pipeline=grain.checkpoint.CheckpointRestore(pipeline),
        )
        return restored.state, pipeline.state or {}

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
        step = self._newest() if step is None else step
        return self._read(step, state=args).state["params"], step

    def _newest(self) -> int:
        step = self.latest_step()
        if step is None:
            raise InputError(f"{self.directory}: no checkpoint; run xcot train with this --workdir")
        return step

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
        """Waits until everything is written."""
        self._manager.wait_until_finished()
        self._manager.close()


def _placed(shapes: Any, shardings: Any) -> Any:
    return jax.tree.map(
        lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), shapes, shardings
    )
