"""Slices of TPUs that can be compiled for without being there."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
from collections.abc import Mapping
from typing import Any

import jax
from jax.experimental import topologies

from xcot_jax.errors import InputError

ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    # Any: the topology's name decides. Without one libtpu warns at every start.
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
}
"""What libtpu has to be told where there is no TPU; read when it is loaded."""


@dataclasses.dataclass(frozen=True)
class Generation:
    """A kind of TPU.

    Attributes:
      example: a topology of 64 chips, "x" between the lengths of its sides.
      hbm: bytes of a chip's memory that the compiler gives to programs.
      options: what libtpu has to know beside the lengths. The two cores of a v4 chip work as one.
    """

    example: str
    hbm: float
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


GENERATIONS: dict[str, Generation] = {
    "v4": Generation("4x4x4", 30.75 * 2**30, {"chip_config_name": "megacore"}),
    "v5e": Generation("8x8", 15.75 * 2**30),
    "v5p": Generation("4x4x4", 95.73 * 2**30),
    "v6e": Generation("8x8", 31.24 * 2**30),
}
"""The TPUs that can be compiled for; a topology is named "generation:lengths"."""


def _hide_cpu_flags() -> None:
    """Hides XLA's flags for CPUs, once they are read: libtpu dies of one that it does not know."""
    flags = os.environ.get("XLA_FLAGS", "").split()
    kept = [flag for flag in flags if not flag.startswith("--xla_cpu_")]
    if kept != flags:
        jax.local_devices(backend="cpu")
        os.environ["XLA_FLAGS"] = " ".join(kept)


def topology_devices(topology: str) -> list[jax.Device]:
    """The chips of a topology: they can be compiled for, and do not exist.

    JAX is kept on the CPU if nothing else was asked of it: without a TPU, libtpu's client would not
    start.

    Args:
      topology: such as "v5e:8x8", the lengths being those of the slice.

    Raises:
      InputError: if libtpu is not installed or there is no such topology.
    """
    generation, _, lengths = topology.partition(":")
    known = ", ".join(f"{name}:{row.example}" for name, row in GENERATIONS.items())
    if generation not in GENERATIONS or not re.fullmatch(r"\d+(x\d+){1,2}", lengths):
        raise InputError(
            f"{topology!r} is not a TPU topology; name a generation and the lengths of a slice of "
            f"it, such as {known}"
        )
    if importlib.util.find_spec("libtpu") is None:
        raise InputError(
            f"to compile for {topology} the package libtpu is needed, but no TPU: "
            "pip install libtpu, or pip install 'xcot-jax[tpu]'"
        )
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if not jax.config.jax_platforms:  # type: ignore[attr-defined]
        jax.config.update("jax_platforms", "cpu")
    options = dict(GENERATIONS[generation].options)
    sides = [int(length) for length in lengths.split("x")]
    if len(sides) == 3 and all(side % 4 == 0 for side in sides):
        options["wrap"] = (True,) * 3  # Slices of whole cubes are tori.
    _hide_cpu_flags()
    try:
        return topologies.get_topology_desc(topology, platform="tpu", **options).devices
    except (jax.errors.JaxRuntimeError, NotImplementedError) as error:
        raise InputError(
            f"libtpu knows no topology {topology!r} ({error}); there are, for example, {known}"
        ) from error
