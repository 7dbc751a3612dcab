"""Where a run's weights come from: a seed, a Hugging Face directory, a checkpoint of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from xcot_jax import config as config_files
from xcot_jax import sharding
from xcot_jax.checkpoint import Checkpoints, has_checkpoint
from xcot_jax.data.tokenizer import Tokenizer
from xcot_jax.errors import InputError
from xcot_jax.files import AnyPath, write_whole
from xcot_jax.models import hf, lora, transformer
from xcot_jax.models.config import ModelConfig
from xcot_jax.models.families import from_hf
from xcot_jax.models.selection import from_settings
from xcot_jax.models.tensor_files import TensorFiles
from xcot_jax.settings import Settings

INPUTS_FILE = "inputs.json"  # In a working directory: fingerprints of what the run reads.

BASE_CONFIG = "base_config.json"  # There, too: of the checkpoint the run began with.
_PAGE = 4_096

_READ_ANYHOW = ("model.init_from", "model.remat", "model.compute_dtype", "model.lora.base_dtype")
"""Settings of the model that do not decide what its checkpoints hold."""


def model_config(
    settings: Settings, tokenizer: Tokenizer, workdir: AnyPath | None = None
) -> ModelConfig:
    """The decoder of a run.

    Args:
      settings: of the run.
      tokenizer: of the run.
      workdir: of the run; see `base_config`.

    Raises:
      InputError: for sizes that do not fit, or a tokenizer larger than the model's vocabulary.
    """
    return from_settings(settings.model, tokenizer.vocab_size, base_config(settings, workdir))


def base_directory(settings: Settings) -> Path:
    """The Hugging Face directory a run begins with."""
    return Path(settings.model.init_from).expanduser()


def base_config(settings: Settings, workdir: AnyPath | None = None) -> dict[str, Any] | None:
    """The `config.json` of the checkpoint a run begins with, if it does with one.

    Args:
      settings: of the run.
      workdir: of the run; once it has a checkpoint, what it keeps of the one it began with stands
        in for that.

    Raises:
      InputError: if there is none, or it asks for what the decoder does not have.
    """
    if not settings.model.init_from:
        return None
    found = None
    if workdir and (workdir / BASE_CONFIG).exists() and has_checkpoint(workdir):
        found = json.loads((workdir / BASE_CONFIG).read_text(encoding="utf-8"))
    found = found or hf.read_config(base_directory(settings))
    from_hf(found)
    return found


def keep_base_config(settings: Settings, workdir: AnyPath) -> None:
    """Notes in a working directory what the run needs of the checkpoint it begins with."""
    if (found := base_config(settings, workdir)) is not None:
        write_whole(workdir / BASE_CONFIG, json.dumps(found, indent=2) + "\n")


def check_inputs(settings: Settings, workdir: AnyPath, found: Mapping[str, str]) -> None:
    """Refuses to go on with a run beside other inputs than it was trained with.

    Args:
      settings: of the run, for messages.
      workdir: of the run.
      found: name of an input -> its fingerprint now.

    Raises:
      InputError: naming the input that changed.
    """
    kept = workdir / INPUTS_FILE
    before = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    places = {
        "dataset": settings.data.dir,
        "tokenizer": settings.data.tokenizer or settings.model.init_from or settings.data.dir,
        "base model": settings.model.init_from,
    }
    for name, fingerprint in found.items():
        if before.get(name) != fingerprint:
            chat = f" (data.chat={settings.data.chat})" if name == "tokenizer" else ""
            raise InputError(
                f"{workdir} was trained with another {name} than is now at {places[name]}{chat}; "
                "bring the old one back, or train anew in another --workdir"
            )


def check_run(settings: Settings, workdir: AnyPath, tokenizer: Tokenizer) -> None:
    """Refuses to read a run with a model or a tokenizer that are not its own.

    Raises:
      InputError: naming what differs.
    """
    if not has_checkpoint(workdir):
        return  # Which `trained` has words for.
    old = config_files.load(workdir / "config.json")
    changed = {
        key: values
        for key, values in config_files.differences(old, settings).items()
        if key.startswith("model.") and key not in _READ_ANYHOW
    }
    if changed:
        lines = "\n".join(f"  {key}: was {a!r}, now {b!r}" for key, (a, b) in changed.items())
        raise InputError(f"{workdir} holds a model of other settings:\n{lines}")
    check_inputs(settings, workdir, {"tokenizer": tokenizer.fingerprint})
    check_inputs(settings, workdir, base_fingerprint(settings))


def base_fingerprint(settings: Settings) -> dict[str, str]:
    """A checksum of the frozen weights of a run with adapters, which mean nothing beside others.

    Of each file its length counts, and one page of every 256, so that it takes little time.
    """
    if not (settings.model.lora.rank and settings.model.init_from):
        return {}
    digest = hashlib.sha256()
    for path in TensorFiles(base_directory(settings)).paths():
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
        return hf.load(base_directory(settings), config, mesh)
    return transformer.init(config, settings.seed, mesh, part=lora.trained_part)[1]


def frozen(settings: Settings, config: ModelConfig, mesh: Mesh) -> transformer.Params:
    """What training leaves alone: nothing, or with adapters the weights they stand beside."""
    if config.lora is None:
        return {}
    dtype = settings.model.lora.base_dtype
    if settings.model.init_from:
        return hf.load(base_directory(settings), config, mesh, dtype)
    return transformer.init(config, settings.seed, mesh, part=lora.frozen_part, dtype=dtype)[1]


def trained(
    settings: Settings, config: ModelConfig, mesh: Mesh, workdir: AnyPath, step: int | None = None
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
      InputError: if there is no such checkpoint, or it is of another model.
    """
    shapes = lora.trained_part(transformer.param_shapes(config), config)
    axes = lora.trained_part(transformer.logical_axes(config), config)
    checkpoints = Checkpoints(workdir, create=False)
    params, step = checkpoints.restore_params(
        shapes, sharding.tree_shardings(mesh, axes, shapes), step
    )
    checkpoints.close()
    return lora.join(params, frozen(settings, config, mesh)), step
