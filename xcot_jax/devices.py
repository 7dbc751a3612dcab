"""What the kinds of devices can do: peak rate of matrix products, memory, and its bandwidth."""

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
      bandwidth: bytes/s to and from it; 0 where no one asks.
      links: bytes/s that a chip sends to its neighbours over all its links, and receives as well.
    """

    flops: float
    memory: int
    bandwidth: float = 0.0
    links: float = 0.0


KINDS: dict[str, Kind] = {
    "TPU v4": Kind(275e12, 32 * GIB, 1200e9, 300e9),
    "TPU v5 lite": Kind(197e12, 16 * GIB, 819e9, 200e9),
    "TPU v5e": Kind(197e12, 16 * GIB, 819e9, 200e9),
    "TPU v5": Kind(459e12, 95 * GIB, 2765e9, 600e9),
    "TPU v6 lite": Kind(918e12, 32 * GIB, 1638e9, 400e9),
    "TPU v6e": Kind(918e12, 32 * GIB, 1638e9, 400e9),
    "TPU7x": Kind(2307e12, 192 * GIB),
    "NVIDIA A100": Kind(312e12, 40 * GIB),
    "NVIDIA H100": Kind(989e12, 80 * GIB),
    "NVIDIA H200": Kind(989e12, 141 * GIB),
    "NVIDIA B200": Kind(2250e12, 180 * GIB),
}
"""By the start of `jax.Device.device_kind`; of memory in two sizes, the smaller.

TPUs by Google's pages (docs.cloud.google.com/tpu/docs/v4, v5e, v5p, v6e), whose interconnect counts
both directions; for the links of v4, six of 50 GB/s: Jouppi et al., arXiv 2304.01433.
"""


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
