"""`xcot env`: what is installed, which devices there are, and what is missing."""

from __future__ import annotations

import importlib.metadata
import platform

from xcot_jax import __version__

REQUIRED = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "grain",
    "transformers",
    "tensorflow-datasets",
    "sentencepiece",
    "ml-collections",
)
OPTIONAL = {
    "libtpu": "TPU: pip install 'xcot-jax[tpu]'",
    "jax-cuda12-plugin": "NVIDIA GPU: pip install 'xcot-jax[cuda]'",
    "openai": "translation by chat endpoints: pip install 'xcot-jax[openai]'",
    "torch": "reading pytorch_model.bin, translation by NLLB: pip install 'xcot-jax[torch]'",
    "apache-beam": "preparing on clusters: pip install 'xcot-jax[beam]'",
    "tensorflow": "reading the records with TensorFlow: pip install 'xcot-jax[test]'",
}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def describe() -> str:
    """The listing that a bug report should begin with."""
    import jax

    from xcot_jax import distributed

    lines = [f"xcot-jax {__version__}, Python {platform.python_version()}, {platform.platform()}"]
    lines += [f"  {name:<22}{_version(name) or 'MISSING: reinstall xcot-jax'}" for name in REQUIRED]
    lines += [
        f"  {name:<22}{_version(name) or f'not installed ({why})'}"
        for name, why in OPTIONAL.items()
    ]
    lines += [
        f"devices ({jax.default_backend()}, process {jax.process_index()} of {jax.process_count()})"
    ]
    how = distributed.launched_by()
    if how:
        lines += [f"  one of several processes ({how}), which xcot train and eval join"]
    for device in jax.local_devices():
        stats = device.memory_stats() or {}
        memory = f", {stats['bytes_limit'] / 2**30:.1f} GiB" if "bytes_limit" in stats else ""
        lines.append(f"  {device.id}: {device.device_kind}{memory}")
    return "\n".join(lines)
