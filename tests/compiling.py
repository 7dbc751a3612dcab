"""How tests compile: in haste rather than for speed, and each program once."""

from __future__ import annotations

import os
from collections.abc import Mapping

import jax

HASTE = (
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false "
    "--xla_cpu_parallel_codegen_split_count=1"
)
"""XLA's flags for CPUs: LLVM's passes take longer than what the tests' small programs compute."""


def environment(flags: str = HASTE) -> Mapping[str, str]:
    """That of a process which shares the tests' compiled programs.

    Args:
      flags: XLA's; without more than `HASTE`, the process has one device.
    """
    cache = {
        "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    shared = cache if cache["JAX_COMPILATION_CACHE_DIR"] else {}  # None without pytest's cache.
    return os.environ | {"XLA_FLAGS": flags} | shared
