"""Adapters as Hugging Face's `peft` keeps them: a small directory beside an unchanged base."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from safetensors.numpy import save as serialised

from xcot_jax import sharding
from xcot_jax.files import write_whole
from xcot_jax.models.config import ModelConfig
from xcot_jax.models.families import FAMILIES
from xcot_jax.models.hf import at, has
from xcot_jax.models.lora import ADAPTER
from xcot_jax.models.tables import Row
from xcot_jax.models.transformer import Params

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"


@dataclasses.dataclass(frozen=True)
class _Module:
    """A linear layer of the checkpoint's that gets an adapter.

    Attributes:
      name: its name; `{layer}` stands for the number of the block.
      rows: of our matrices in it that have one. Several share the layer's adapter: each has a block
        of the inner width, and what a block gives to other matrices' outputs is zero.
    """

    name: str
    rows: tuple[Row, ...]

    @property
    def last_name(self) -> str:
        """What `peft` finds the layer by, in every block."""
        return self.name.rpartition(".")[2]

    def tensors(
        self, adapters: Sequence[tuple[np.ndarray, np.ndarray]]
    ) -> tuple[Float[np.ndarray, "r inputs"], Float[np.ndarray, "outputs r"]]:
        """The layer's A and B from those of its rows, all in one block, as [outputs, inputs]."""
        rank = adapters[0][0].shape[-1]
        whole_a = np.concatenate([a.reshape(-1, rank).T for a, _ in adapters])
        outputs = adapters[0][1].shape[1:]
        parts = np.zeros((self.rows[0].parts, len(whole_a), *outputs), np.float32)
        for number, (row, (_, b)) in enumerate(zip(self.rows, adapters, strict=True)):
            part = row.part[0] if row.part else 0
            parts[part, number * rank : (number + 1) * rank] = b
        # B is stored as a matrix of the layer's outputs would be whose input is the inner width.
        whole_b = dataclasses.replace(self.rows[0], input_axes=1).stored(list(parts))
        return np.ascontiguousarray(whole_a), whole_b


def save(directory: Path, params: Params, config: ModelConfig, base: str) -> None:
    """Writes adapters so that `peft.PeftModel.from_pretrained(base_model, directory)` has them.

    The same adapters give the same bytes. Targets that the family lacks are left out.

    Args:
      directory: where to.
      params: the adapters, with or without the weights they stand beside.
      config: the decoder, with adapters.
      base: name or path of the checkpoint they were trained on.
    """
    assert config.lora is not None
    modules = _modules(params, config)
    rank, alpha = config.lora.rank, config.lora.alpha
    wider = {m.last_name: len(m.rows) for m in modules if len(m.rows) > 1}
    described = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": True,
        "target_modules": sorted(m.last_name for m in modules),
        # What is added is scaled by alpha / r; a wider r asks for as much more alpha.
        "rank_pattern": {name: many * rank for name, many in wider.items()},
        "alpha_pattern": {name: many * alpha for name, many in wider.items()},
    }
    content = serialised(dict(tensors(params, config)), metadata={"format": "pt"})
    write_whole(directory / WEIGHTS_FILE, content)
    text = json.dumps(described, indent=2, ensure_ascii=False) + "\n"
    write_whole(directory / CONFIG_FILE, text)


def _modules(params: Params, config: ModelConfig) -> list[_Module]:
    """The layers with an adapter, in the order of the family's table."""
    rows = (
        row
        for row in FAMILIES[config.family].rows
        if row.path[-1] == "weight" and has(params, (*row.path[:-1], ADAPTER[0]))
    )
    return [
        _Module(name.removesuffix(".weight"), tuple(group))
        for name, group in itertools.groupby(rows, lambda row: row.name)
    ]


def tensors(params: Params, config: ModelConfig) -> Iterator[tuple[str, np.ndarray]]:
    """Names and values of all tensors of the file."""
    for module in _modules(params, config):
        nodes: list[Any] = [at(params, row.path[:-1]) for row in module.rows]
        stacked = [[sharding.on_host(node[name]) for name in ADAPTER] for node in nodes]
        for layer in range(config.layers):
            a, b = module.tensors([(a[layer], b[layer]) for a, b in stacked])
            prefix = f"base_model.model.{module.name.format(layer=layer)}"
            yield f"{prefix}.lora_A.weight", a.astype(np.float32)
            yield f"{prefix}.lora_B.weight", b.astype(np.float32)
