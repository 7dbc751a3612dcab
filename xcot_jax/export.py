"""`xcot export`: a trained run as a Hugging Face directory, or its adapters as a PEFT one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from xcot_jax import distributed, sharding, weights
from xcot_jax.data.loader import find_tokenizer
from xcot_jax.data.tokenizer import Tokenizer
from xcot_jax.data.tokenizer_export import save_for_transformers
from xcot_jax.errors import InputError
from xcot_jax.files import AnyPath, whole_directory
from xcot_jax.models import families, hf, peft
from xcot_jax.models.config import ModelConfig
from xcot_jax.models.tensor_writer import write_tensors
from xcot_jax.prompts import chosen
from xcot_jax.settings import Settings


def export(
    settings: Settings,
    workdir: AnyPath,
    out: Path,
    *,
    dtype: str = "bfloat16",
    step: int | None = None,
    adapter: bool = False,
) -> None:
    """Writes a checkpoint of a run so that transformers, vLLM or peft load it.

    `out` holds weights, `config.json`, `generation_config.json` and the tokenizer's files, and is
    there whole or not at all. The host holds one parameter's tensor at a time. Of several
    processes, which all have a part of the weights, the first writes.

    Args:
      settings: of the run.
      workdir: of the run.
      out: directory to make.
      dtype: type of the written weights.
      step: of the checkpoint; the newest if not given.
      adapter: write the adapters alone, for `peft`, beside nothing: model and tokenizer are those
        the run began with. Else they are merged into the weights.

    Raises:
      InputError: if there is no such checkpoint, `out` exists, or adapters are asked for of a run
        that has none or began with random weights.
    """
    if adapter and not settings.model.lora.rank:
        raise InputError(f"{workdir} has no adapters (model.lora.rank=0); leave --adapter away")
    if adapter and not settings.model.init_from:
        raise InputError(
            f"{workdir} began with random weights, which peft has not; leave --adapter away to "
            "export them with the adapters merged"
        )
    tokenizer = find_tokenizer(settings)
    weights.check_run(settings, workdir, tokenizer)
    config = weights.model_config(settings, tokenizer, workdir)
    mesh = sharding.make_mesh(settings.mesh)
    params, step = weights.trained(settings, config, mesh, workdir, step)
    if not distributed.is_main():
        parts = peft.tensors(params, config) if adapter else hf.tensors(params, config, dtype)
        for _ in parts:  # Each is gathered from all processes.
            pass
        return
    with whole_directory(out) as directory:
        if adapter:
            peft.save(directory, params, config, settings.model.init_from)
        else:
            tensors = hf.tensors(params, config, dtype)
            write_tensors(directory, hf.layout(config, dtype), tensors)
            base = weights.base_config(settings, workdir)
            described = _config(base or families.to_hf(config), config, tokenizer, dtype)
            _write(directory / "config.json", described)
            _write(directory / "generation_config.json", _generation(settings, tokenizer))
            save_for_transformers(tokenizer, directory, chosen(settings.prep))
    print(f"wrote step {step} of {settings.name} to {out}")


def _config(
    base: dict[str, Any], config: ModelConfig, tokenizer: Tokenizer, dtype: str
) -> dict[str, Any]:
    """The `config.json` of what was trained; other keys of the base stay as they were."""
    described = {key: value for key, value in base.items() if key not in ("dtype", "torch_dtype")}
    return described | {
        "vocab_size": config.vocab_size,
        "torch_dtype": dtype,  # Newer versions say `dtype` and read both.
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": tokenizer.eos_id,
        "pad_token_id": tokenizer.pad_id,
    }


def _generation(settings: Settings, tokenizer: Tokenizer) -> dict[str, Any]:
    """Greedy, and ending where the training's answers end."""
    return {
        "do_sample": False,
        "max_new_tokens": settings.eval.max_new_tokens,
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": tokenizer.eos_id,
        "pad_token_id": tokenizer.pad_id,
    }


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
