"""Eight CPU devices, strict types and shapes; programs compiled in haste, and kept between runs."""

import importlib
import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # JAX reads it when it is imported.

import hypothesis
import jax
import jaxtyping
import pytest

from tests import shape_checker  # noqa: F401  the import hook finds it by name
from tests.compiling import HASTE

# Read when JAX's backend starts.
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} {HASTE} --xla_force_host_platform_device_count=8"
)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Every annotated shape of the library is checked in the tests. What modules under the hook import
# first has its source compiled anew, so the large packages come before.
for name in ("flax.nnx", "grain", "optax", "orbax.checkpoint", "tensorflow_datasets"):
    importlib.import_module(name)
jaxtyping.install_import_hook("xcot_jax", "tests.shape_checker.check")


def pytest_configure(config: pytest.Config) -> None:
    """Keeps compiled programs in pytest's cache directory: the next run is several times faster."""
    if getattr(config, "cache", None) is not None:
        jax.config.update("jax_compilation_cache_dir", str(config.cache.mkdir("jax")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


hypothesis.settings.register_profile("shared machines", deadline=None)
hypothesis.settings.load_profile("shared machines")

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory):
    """A SentencePiece model of the groups in `tests.corpus`."""
    from tests.corpus import group
    from xcot_jax.data.tokenizer_training import train_sentencepiece

    groups = [group(number, students=3) for number in range(30)]
    texts = [text for g in groups for text in (g.answer, *(view.prompt for view in g.views))]
    return train_sentencepiece(texts, tmp_path_factory.mktemp("tokenizer") / "t.model", 400)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    """A small dataset of all recipes, prepared from the embedded corpus by the command."""
    from xcot_jax import cli

    out = tmp_path_factory.mktemp("data") / "story"
    story = {"high_count": 40, "low_count": 6, "heldout_count": 4}
    arguments = [f"--config.prep.story.{key}={value}" for key, value in story.items()]
    cli.run(["prep", f"--config={ROOT}/configs/quickstart_xcot.py", f"--out={out}", *arguments])
    return out
