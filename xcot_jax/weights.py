"""Where a run's weights come from: a seed, a Hugging Face directory, a checkpoint of its own."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from xcot_jax import sharding
from xcot_jax.checkpoint import Checkpoints
from xcot_jax.data.tokenizer import Tokenizer
from xcot_jax.errors import InputError
from xcot_jax.files import write_whole
from xcot_jax.models import hf, lora, transformer
from xcot_jax.models.config import ModelConfig
from xcot_jax.models.selection import from_settings
from xcot_jax.settings import Settings

INPUTS_FILE = "inputs.json"  # In a working directory: fingerprints of what the run reads.

BASE_CONFIG = "base_config.json"  # There, too: of the checkpoint the run began with.
_PAGE = 4_096


def model_config(
    settings: Settings, tokenizer: Tokenizer, workdir: Path | None = None
) -> ModelConfig:
    """The decoder of a run.

    Args:
      settings: of the run.
      tokenizer: of the run.
      workdir: of the run; what it keeps of the checkpoint it began with stands in for that.

    Raises:
      InputError: for sizes that do not fit, or a tokenizer larger than the model's vocabulary.
    """
    return from_settings(settings.model, tokenizer.vocab_size, base_config(settings, workdir))


def base_config(settings: Settings, workdir: Path | None = None) -> dict[str, Any] | None:
    """The `config.json` of the checkpoint a run begins with, if it does with one."""
    if not settings.model.init_from:
        return None
    kept = workdir / BASE_CONFIG if workdir else None
    if kept and kept.exists():
        return json.loads(kept.read_text(encoding="utf-8"))
    return hf.read_config(settings.model.init_from)


def keep_base_config(settings: Settings, workdir: Path) -> None:
    """Notes in a working directory what the run needs of the checkpoint it begins with."""
    if (found := base_config(settings, workdir)) is not None:
        write_whole(workdir / BASE_CONFIG, json.dumps(found, indent=2) + "\n")


def base_fingerprint(settings: Settings) -> dict[str, str]:
    """A checksum of the frozen weights of a run with adapters, which mean nothing beside others.

    Of each file its length counts, and one page of every 256, so that it takes little time.
    """
    if not (settings.model.lora.rank and settings.model.init_from):
        return {}
    digest = hashlib.sha256()
    directory = Path(settings.model.init_from)
    hf.read_config(directory)  # Whose absence has a message of its own.
    for path in sorted(p for p in directory.iterdir() if p.suffix in (".safetensors", ".bin")):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}".encode())
        with path.open("rb") as file:
            for begin in range(0, size, 256 * _PAGE):
                file.seek(begin)
                digest.update(file.read(_PAGE))
    return {"base model": digest.hexdigest()}


def initial(settings: Settings, config: ModelConfig, mesh: Mesh) -> transformer.Params:
    """What training changes, before the first step: all weights, or adapters that do nothing."""
    if config.lora is None and settings.model.init_from:
        return hf.load(settings.model.init_from, config, mesh)
    return transformer.init(config, settings.seed, mesh, part=lora.trained_part)[1]


def frozen(settings: Settings, config: ModelConfig, mesh: Mesh) -> transformer.Params:
    """What training leaves alone: nothing, or with adapters the weights they stand beside."""
    if config.lora is None:
        return {}
    dtype = settings.model.lora.base_dtype
    if settings.model.init_from:
        return hf.load(settings.model.init_from, config, mesh, dtype)
    return transformer.init(config, settings.seed, mesh, part=lora.frozen_part, dtype=dtype)[1]


def trained(
    settings: Settings, config: ModelConfig, mesh: Mesh, workdir: Path, step: int | None = None
) -> tuple[transformer.Params, int]:
    """All weights of a checkpoint of the run, with adapters beside what they were trained on.

    Args:
      settings: of the run.
      config: its decoder.
      mesh: where the weights go.
      workdir: of the run.
      step: of the checkpoint; the newest if not given.

    Returns:
      the parameters and their step.

    Raises:
      InputError: if there is no such checkpoint, it is of another model, or its adapters were
        trained beside other weights than are there now.
    """
    kept = workdir / INPUTS_FILE
    before = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    for name, found in base_fingerprint(settings).items():
        if before.get(name) != found:
            raise InputError(
                f"{workdir}: its adapters were trained with another {name} than is now at "
                f"{settings.model.init_from}; bring the old one back"
            )
    shapes = lora.trained_part(transformer.param_shapes(config), config)
    axes = lora.trained_part(transformer.logical_axes(config), config)
    checkpoints = Checkpoints(workdir, create=False)
    params, step = checkpoints.restore_params(
        shapes, sharding.tree_shardings(mesh, axes, shapes), step
    )
    checkpoints.close()
    return lora.join(params, frozen(settings, config, mesh)), step
