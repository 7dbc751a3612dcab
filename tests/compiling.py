"""How tests compile: in haste rather than for speed, and each program once."""

from __future__ import annotations

import os
from collections.abc import Mapping

import jax

HASTE = "--xla_backend_optimization_level=0"
"""XLA's flag for CPUs: LLVM's passes take longer than what the tests' small programs compute."""


def environment(flags: str = HASTE) -> Mapping[str, str]:
    """That of a process which shares the tests' compiled programs.

    Args:
      flags: XLA's; without more than `HASTE`, the process has one device.
    """
    return os.environ | {
        "XLA_FLAGS": flags,
        "JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
