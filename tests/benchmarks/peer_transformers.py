"""transformers' Llama under torch, trained as its users train: padded batches, full logits.

Two ways, both with batches of about the same length, scaled-dot-product attention and fused AdamW:

"transformers" is what transformers' Trainer and TRL's do. SFT: `model(..., labels=labels)`, prompts
labelled -100, padding to the right. Distillation: teacher's and student's views are read with
gradients for their cross-entropy; the teacher's distribution comes from one more reading without
gradients, as in TRL's trainers, whose teacher is another call of a model; the divergence is taken
at the shared answer only.

"transformers, tuned" is what can be had by hand from the same classes: padding to the left, so that
all responses end together and `logits_to_keep` leaves the prompts' logits out, and the teacher's
distribution from the logits of its cross-entropy, detached.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import transformers

from tests.benchmarks import peer_examples
from tests.benchmarks.peer_examples import Pair, View
from tests.benchmarks.peer_worker import Spec

IGNORED = -100  # The label without loss, transformers' own.


@dataclasses.dataclass(frozen=True)
class Padded:
    """Views in one rectangle.

    Attributes:
      tokens, mask, labels: [n, T]; labels are the tokens that bear loss, else `IGNORED`.
      shared: [n, T], tokens of the shared answer.
      keep: tokens at the end that hold all responses, where they end together.
    """

    tokens: torch.Tensor
    mask: torch.Tensor
    labels: torch.Tensor
    shared: torch.Tensor
    keep: int


def pad(views: Sequence[View], answers: Sequence[int], left: bool) -> Padded:
    """Pads views to the longest, each with the number of shared tokens at its end."""
    shape = len(views), max(len(view.tokens) for view in views)
    tokens, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    labels, shared = np.full(shape, IGNORED), np.zeros(shape, bool)
    for row, (view, answer) in enumerate(zip(views, answers, strict=True)):
        end = shape[1] if left else len(view.tokens)
        tokens[row, end - len(view.tokens) : end] = view.tokens
        mask[row, end - len(view.tokens) : end] = 1
        labels[row, end - view.response : end] = view.tokens[-view.response :]
        shared[row, end - answer : end] = True
    arrays = map(torch.from_numpy, (tokens, mask, labels, shared))
    return Padded(*arrays, keep=max(view.response for view in views))


class Stepper:
    """A Llama with its optimizer, on batches that are padded beforehand."""

    def __init__(
        self, model: Any, beta: float, pairs: Sequence[Pair], batches: int, *, tuned: bool
    ):
        self._model, self._beta, self._tuned = model.train(), beta, tuned
        if beta:
            parts = peer_examples.by_length(
                pairs, batches, lambda pair: sum(len(view.tokens) for view in pair.views)
            )
            self._batches = [self._distilled(part) for part in parts]
        else:
            views = [view for pair in pairs for view in pair.views]
            groups = peer_examples.by_length(views, batches, lambda view: len(view.tokens))
            self._batches = [(pad(part, [0] * len(part), tuned),) for part in groups]
        self.warm = [batches - 1]  # The longest: nothing is compiled.
        matrices = [p for p in model.parameters() if p.ndim > 1]
        scales = [p for p in model.parameters() if p.ndim <= 1]
        self._optimizer = torch.optim.AdamW(
            [{"params": matrices}, {"params": scales, "weight_decay": 0.0}],
            lr=3e-4,
            betas=(0.9, 0.95),
            eps=1e-8,
            weight_decay=0.1,
            fused=True,
        )

    def _distilled(self, pairs: Sequence[Pair]) -> tuple[Padded, Padded]:
        answers = [pair.answer for pair in pairs]
        return (
            pad([pair.teacher for pair in pairs], answers, self._tuned),
            pad([pair.student for pair in pairs], answers, self._tuned),
        )

    def __call__(self, batch: int) -> dict[str, float]:
        """One step on one batch."""
        loss = self._distillation(*self._batches[batch]) if self._beta else self._sft(batch)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad()
        return {"loss": loss.item(), "norm": norm.item()}

    def _sft(self, batch: int) -> torch.Tensor:
        (views,) = self._batches[batch]
        if not self._tuned:
            return self._model(
                input_ids=views.tokens, attention_mask=views.mask, labels=views.labels
            ).loss
        logits, labels, _ = self._predictions(views)
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)

    def _distillation(self, teacher: Padded, student: Padded) -> torch.Tensor:
        teacher_logits, teacher_labels, teacher_shared = self._predictions(teacher)
        student_logits, student_labels, student_shared = self._predictions(student)
        ce = sum(
            F.cross_entropy(
                logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum"
            )
            for logits, labels in (
                (teacher_logits, teacher_labels),
                (student_logits, student_labels),
            )
        )
        predicted = (teacher_labels != IGNORED).sum() + (student_labels != IGNORED).sum()
        if not self._tuned:
            with torch.no_grad():
                teacher_logits, _, _ = self._predictions(teacher)
        kl = F.kl_div(
            F.log_softmax(student_logits[student_shared], dim=-1),
            F.log_softmax(teacher_logits.detach()[teacher_shared], dim=-1),
            reduction="sum",
            log_target=True,
        )
        return ce / predicted + self._beta * kl / student_shared.sum()

    def _predictions(self, views: Padded) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits [n, t, V], the labels they predict, and which of these are shared [n, t]."""
        kept = views.keep + 1 if self._tuned else views.tokens.shape[1]
        extra: dict[str, Any] = {}
        if self._tuned:
            extra = {
                "position_ids": (views.mask.cumsum(1) - 1).clamp(min=0),
                "logits_to_keep": kept,
            }
        logits = self._model(input_ids=views.tokens, attention_mask=views.mask, **extra).logits
        after = slice(views.tokens.shape[1] - kept + 1, None)
        return logits[:, :-1], views.labels[:, after], views.shared[:, after]


def llama(sizes: dict[str, int], **changes: Any) -> Any:
    """A random Llama of these sizes in fp32."""
    config = transformers.LlamaConfig(
        vocab_size=sizes["vocab_size"],
        hidden_size=sizes["width"],
        intermediate_size=sizes["ffn_width"],
        num_hidden_layers=sizes["layers"],
        num_attention_heads=sizes["heads"],
        num_key_value_heads=sizes["kv_heads"],
        head_dim=sizes["head_width"],
        rms_norm_eps=1e-5,
        use_cache=False,
        attn_implementation="sdpa",
        **changes,
    )
    return transformers.LlamaForCausalLM(config).float()


def stepper(spec: Spec) -> Stepper:
    """The side of a worker."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    rows = peer_examples.load(Path(spec.directory))
    pairs = [pair for batch in rows for pair in peer_examples.unpack(batch)]
    tuned = spec.side == "transformers, tuned"
    return Stepper(llama(spec.sizes), spec.beta, pairs, len(rows), tuned=tuned)
