"""Eight CPU devices, strict types and shapes, and compiled programs kept between test runs."""

import os

# Before JAX is imported: it reads both when its backend starts.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jaxtyping
import pytest

from tests import shape_checker  # noqa: F401  the import hook finds it by name

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Every annotated shape of the library is checked in the tests.
jaxtyping.install_import_hook("xcot_jax", "tests.shape_checker.check")


def pytest_configure(config: pytest.Config) -> None:
    """Keeps compiled programs in pytest's cache directory: the second run is several times faster."""
    if getattr(config, "cache", None) is not None:
        jax.config.update("jax_compilation_cache_dir", str(config.cache.mkdir("jax")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
