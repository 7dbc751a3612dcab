"""transformers under torch on the GPU benchmark's batch: the same rows, slots, losses and update.

The model is transformers' own class with scaled-dot-product attention under a mask of segments,
fp32 weights under bf16 autocast or, with adapters, frozen bf16 ones, and fused AdamW. The head is
applied to the loss slots only, as in this library, and its teacher's logits serve both losses.
Activations are kept if memory allows it; else blocks are recomputed, and the result says so.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import transformers

from tests.benchmarks.gpu_cases import BETAS, Case
from xcot_jax.data import packing
from xcot_jax.models import families

_ADAPTED = tuple(f"{name}_proj" for name in ("q", "k", "v", "o", "gate", "up", "down"))


class Adapted(torch.nn.Module):
    """A frozen matrix and its low-rank adapter (Hu et al., arXiv 2106.09685)."""

    def __init__(self, matrix: torch.nn.Linear, rank: int):
        super().__init__()
        self.matrix = matrix
        where = matrix.weight.device
        self.a = torch.nn.Parameter(torch.randn(rank, matrix.in_features, device=where) * 0.02)
        self.b = torch.nn.Parameter(torch.zeros(matrix.out_features, rank, device=where))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The matrix's outputs and the adapter's, whose factor is 2."""
        return self.matrix(x) + 2.0 * F.linear(F.linear(x, self.a), self.b)


def make(case: Case, device: torch.device) -> Any:
    """A random model of the case's sizes."""
    arguments = families.to_hf(case.config("plain"))
    config = transformers.AutoConfig.for_model(**arguments)
    torch.manual_seed(0)
    with device:
        model = transformers.AutoModelForCausalLM.from_config(
            config,
            attn_implementation="sdpa",
            dtype=torch.bfloat16 if case.rank else torch.float32,
        )
    if case.rank:
        model.requires_grad_(False)
        for layer in model.modules():
            for name, child in list(layer.named_children()):
                if name in _ADAPTED:
                    setattr(layer, name, Adapted(child, case.rank))
    return model.train()


class Batch:
    """The packed rows as torch's tensors."""

    def __init__(self, rows: packing.Ragged, device: torch.device):
        def tensor(array: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device)

        segments = tensor(rows["segment_ids"])
        self.tokens = tensor(rows["tokens"].astype(np.int64))
        self.positions = tensor(rows["positions"].astype(np.int64))
        same = segments[:, :, None] == segments[:, None, :]
        self.mask = torch.tril(same)[:, None]
        row, slot = np.nonzero(rows["ce_weight"].any(axis=-1))
        self.row = tensor(row[:, None])
        self.at = tensor(rows["slot_positions"][row, slot].astype(np.int64))
        self.targets = tensor(rows["targets"][row, slot].astype(np.int64))
        self.ce_weight = tensor(rows["ce_weight"][row, slot])
        self.kd_weight = tensor(rows["kd_weight"][row, slot])


def objective(model: Any, batch: Batch, beta: float) -> torch.Tensor:
    """CE over all predicted tokens, and beta times the mean KL over shared ones."""
    with torch.autocast(batch.tokens.device.type, torch.bfloat16):
        hidden = model.model(
            input_ids=batch.tokens,
            position_ids=batch.positions,
            attention_mask=batch.mask,
            use_cache=False,
        ).last_hidden_state
        logits = model.lm_head(hidden[batch.row, batch.at])
    log_p = F.log_softmax(logits.float(), dim=-1)
    ce = -log_p.gather(-1, batch.targets[..., None])[..., 0]
    loss = (ce * batch.ce_weight).sum() / batch.ce_weight.sum()
    if beta:
        teacher = log_p[:, :1].detach()
        kl = (teacher.exp() * (teacher - log_p[:, 1:])).sum(dim=-1)
        loss = loss + beta * (kl * batch.kd_weight).sum() / batch.kd_weight.sum()
    return loss


class Trainer:
    """One model, trained with all objectives in turn."""

    def __init__(self, case: Case, rows: packing.Ragged, device: torch.device):
        self._model, self._batch, self._device = make(case, device), Batch(rows, device), device
        self._trained = [p for p in self._model.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(self._trained, lr=3e-4, weight_decay=0.1, fused=True)
        self.recomputes = False

    def recompute(self) -> None:
        """Keeps the inputs of blocks only, from the next step on."""
        self._model.gradient_checkpointing_enable({"use_reentrant": False})
        self._optimizer.zero_grad()
        self.recomputes = True

    def step(self, beta: float) -> tuple[float, float]:
        """Seconds of one step, and its loss."""
        begin = time.perf_counter()
        loss = objective(self._model, self._batch, beta)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._trained, 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad()
        value = loss.item()  # Waits for the loss, but not for what comes after it.
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - begin, value


def theirs(case: Case, rows: packing.Ragged, rounds: int) -> dict[str, Any]:
    """Times transformers' training step; `missing` says why there is nothing to time."""
    cuda = torch.cuda.is_available()
    if not cuda and not case.tiny:
        return {"missing": f"torch {torch.__version__} finds no CUDA device"}
    device = torch.device("cuda" if cuda else "cpu")
    trainer = Trainer(case, rows, device)
    try:
        losses = {name: trainer.step(beta)[1] for name, beta in BETAS.items()}
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        trainer.recompute()
        losses = {name: trainer.step(beta)[1] for name, beta in BETAS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in BETAS}
    for _ in range(rounds):
        for name, beta in BETAS.items():
            seconds[name].append(trainer.step(beta)[0])
    return {
        "seconds": seconds,
        "median_s": {name: statistics.median(times) for name, times in seconds.items()},
        "peak_bytes": torch.cuda.max_memory_allocated() if cuda else 0,
        "recomputes": trainer.recomputes,
        "loss": losses,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
