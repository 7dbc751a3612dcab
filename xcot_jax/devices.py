"""What the kinds of devices can do: peak rate of matrix products, and memory."""

from __future__ import annotations

import dataclasses
import functools
import time
from typing import Any

import jax
import jax.numpy as jnp

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of device, by its maker's figures.

    Attributes:
      flops: dense bf16 FLOP/s.
      memory: bytes.
    """

    flops: float
    memory: int


KINDS: dict[str, Kind] = {
    "TPU v4": Kind(275e12, 32 * GIB),
    "TPU v5 lite": Kind(197e12, 16 * GIB),
    "TPU v5e": Kind(197e12, 16 * GIB),
    "TPU v5": Kind(459e12, 95 * GIB),
    "TPU v6 lite": Kind(918e12, 32 * GIB),
    "TPU v6e": Kind(918e12, 32 * GIB),
    "TPU7x": Kind(2307e12, 192 * GIB),
    "NVIDIA A100": Kind(312e12, 40 * GIB),
    "NVIDIA H100": Kind(989e12, 80 * GIB),
    "NVIDIA H200": Kind(989e12, 141 * GIB),
    "NVIDIA B200": Kind(2250e12, 180 * GIB),
}
"""By the start of `jax.Device.device_kind`; of memory in two sizes, the smaller."""


def kind_of(device: Any) -> Kind | None:
    """The device's row of `KINDS`, which also holds for devices that a topology describes."""
    return next((k for name, k in KINDS.items() if device.device_kind.startswith(name)), None)


@functools.cache
def peak_flops() -> float:
    """Peak FLOP/s of all devices together: the maker's figure, or else a measured one."""
    devices = jax.devices()
    kind = kind_of(devices[0])
    return kind.flops * len(devices) if kind else measured_flops()


def measured_flops(size: int = 1024, seconds: float = 0.3, dtype: str = "float32") -> float:
    """Best FLOP/s of a matrix product on the first device; host devices share its cores."""
    a = jax.device_put(jnp.ones((size, size), dtype), jax.local_devices()[0])
    product = jax.jit(lambda x: x @ x)
    product(a).block_until_ready()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        product(a).block_until_ready()
        best = min(best, time.perf_counter() - begin)
    return 2 * size**3 / best
