"""google-tunix' Llama under its own trainers.

SFT is `PeftTrainer` with its default loss. Distillation is `DistillationTrainer` with the logit
strategy and one model as teacher and student: the strategy reads the teachers' views in a program
of its own. The strategy's loss is replaced: it averages over padding and has none on the teacher's
side. Its forward functions hand on the logits of responses only.

The trainers do not pack, and compile once for each shape of batches: views of about the same length
are padded to the next multiple of a constant; in front, so that all responses end together and
their logits are a static slice. The Llama has one RoPE base, 1e6, whatever is configured.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from tunix.distillation import distillation_trainer, strategies
from tunix.models.llama3 import model as llama3
from tunix.sft import peft_trainer, utils

from tests.benchmarks import peer_examples
from tests.benchmarks.peer_examples import Pair, View
from tests.benchmarks.peer_worker import Spec

MULTIPLE = 128
"""Padded batches are multiples of this long; as few lengths as keep padding below a third."""

Arrays = dict[str, Any]


def pad(views: Sequence[View], answers: Sequence[int], length: int) -> dict[str, np.ndarray]:
    """Views that end together.

    Returns:
      `tokens`, `valid`, `response` (that they bear loss), `shared` (that they are the shared
      answer): [n, length].
    """
    tokens, valid, response, shared = (np.zeros((len(views), length), np.int32) for _ in range(4))
    for row, (view, answer) in enumerate(zip(views, answers, strict=True)):
        tokens[row, length - len(view.tokens) :] = view.tokens
        valid[row, length - len(view.tokens) :] = 1
        response[row, length - view.response :] = 1
        shared[row, length - answer :] = 1
    return {"tokens": tokens, "valid": valid, "response": response, "shared": shared}


def _length(views: Sequence[View]) -> int:
    return -(-max(len(view.tokens) for view in views) // MULTIPLE) * MULTIPLE


class OnePrompt(strategies.LogitStrategy):
    """The logit strategy with this comparison's objective.

    The first half of the student's rows are the teachers' views.
    """

    def compute_loss(
        self, student_output: jax.Array, teacher_output: jax.Array, labels: Arrays
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """CE of all responses and KL of the shared answers, each a mean over its tokens."""
        response = labels["response"].astype(jnp.float32)
        ce = optax.softmax_cross_entropy_with_integer_labels(student_output, labels["targets"])
        students = student_output[len(teacher_output) :]
        shared = labels["shared"][len(teacher_output) :].astype(jnp.float32)
        kl = optax.kl_divergence(jax.nn.log_softmax(students), jax.nn.softmax(teacher_output))
        total = (ce * response).sum() / response.sum()
        return total + self.alpha * (kl * shared).sum() / shared.sum(), {}


class Stepper:
    """A trainer with its model, given one batch at a time."""

    def __init__(self, model: nnx.Module, beta: float, pairs: Sequence[Pair], batches: int):
        config = peft_trainer.TrainingConfig(eval_every_n_steps=1)
        optimizer = optax.chain(
            optax.clip_by_global_norm(1.0),
            optax.adamw(
                3e-4,
                b1=0.9,
                b2=0.95,
                weight_decay=0.1,
                mask=lambda params: jax.tree.map(lambda x: x.ndim > 1, params),
            ),
        )
        self._trainer: peft_trainer.PeftTrainer
        if beta:
            parts = peer_examples.by_length(
                pairs, batches, lambda pair: max(len(view.tokens) for view in pair.views)
            )
            self._batches = _distilled(parts)
            strategy = OnePrompt(_student_logits, _teacher_logits, _labels, 1.0, alpha=beta)
            self._trainer = distillation_trainer.DistillationTrainer(
                model, model, strategy, optimizer, config
            ).with_gen_model_input_fn(lambda x: x.input_tokens)
        else:
            views = [view for pair in pairs for view in pair.views]
            groups = peer_examples.by_length(views, batches, lambda view: len(view.tokens))
            self._batches = [_sft(part) for part in groups]
            self._trainer = peft_trainer.PeftTrainer(
                model, optimizer, config
            ).with_gen_model_input_fn(_sft_inputs)
        # Else each call of `train` would end the training.
        self._trainer.is_managed_externally = True
        shapes = [tuple(x.shape for x in jax.tree.leaves(batch)) for batch in self._batches]
        self.warm = [number for number, s in enumerate(shapes) if s not in shapes[:number]]

    def __call__(self, batch: int) -> dict[str, float]:
        """One step on one batch."""
        self._trainer.train([self._batches[batch]])
        measured = self._trainer._prev_buffered_train_metrics
        assert measured is not None
        norms, _ = measured.additional_metrics["grad_norm"]
        return {"loss": float(measured.losses[-1]), "norm": float(norms[-1])}


def _sft(views: Sequence[View]) -> peft_trainer.TrainingInput:
    """Views for the default loss; bits of the mask are presence and loss."""
    padded = pad(views, [0] * len(views), _length(views))
    return peft_trainer.TrainingInput(padded["tokens"], padded["valid"] | padded["response"] << 1)


def _sft_inputs(x: peft_trainer.TrainingInput) -> Arrays:
    """What the default loss reads; it masks by loss, and leaves presence to attention."""
    return {
        "input_tokens": x.input_tokens,
        "input_mask": x.input_mask >> 1,
        **_attention(x.input_mask & 1),
    }


def _attention(valid: Any) -> Arrays:
    valid = valid.astype(bool)
    return {
        "positions": utils.build_positions_from_mask(valid),
        "attention_mask": utils.make_causal_attn_mask(valid),
    }


def _distilled(batches: Sequence[Sequence[Pair]]) -> list[distillation_trainer.TrainingInput]:
    """Teachers' views, then the students', with what is predicted cut to the longest response.

    Batches of one length are cut alike, so that they have one shape. The trainer hands on no other
    fields than these two.
    """
    stacked = [[pair.teacher for pair in b] + [pair.student for pair in b] for b in batches]
    lengths = [_length(views) for views in stacked]
    kept: dict[int, int] = {}
    for views, length in zip(stacked, lengths, strict=True):
        longest = max(view.response for view in views)
        kept[length] = max(kept.get(length, 0), longest)
    inputs = []
    for pairs, views, length in zip(batches, stacked, lengths, strict=True):
        padded = pad(views, [pair.answer for pair in pairs] * 2, length)
        ends = {"targets": padded["tokens"]} | {k: padded[k] for k in ("response", "shared")}
        ends = {name: x[:, -kept[length] :] for name, x in ends.items()}
        everything = {"tokens": padded["tokens"], "valid": padded["valid"], **ends}
        inputs.append(distillation_trainer.TrainingInput(everything, padded["valid"]))
    return inputs


def _student_logits(
    model: nnx.Module, tokens: jax.Array, valid: jax.Array, targets: jax.Array, **_: Any
) -> jax.Array:
    attention = _attention(valid)
    logits, _ = model(tokens, attention["positions"], None, attention["attention_mask"])
    return logits[:, -targets.shape[1] - 1 : -1]


def _teacher_logits(model: nnx.Module, tokens: jax.Array, **inputs: jax.Array) -> jax.Array:
    half = len(tokens) // 2
    return _student_logits(model, tokens[:half], **{name: x[:half] for name, x in inputs.items()})


def _labels(**inputs: jax.Array) -> Arrays:
    return {name: inputs[name] for name in ("targets", "response", "shared")}


def model_config(sizes: dict[str, int]) -> llama3.ModelConfig:
    """A Llama of these sizes."""
    return llama3.ModelConfig(
        num_layers=sizes["layers"],
        vocab_size=sizes["vocab_size"],
        embed_dim=sizes["width"],
        hidden_dim=sizes["ffn_width"],
        num_heads=sizes["heads"],
        head_dim=sizes["head_width"],
        num_kv_heads=sizes["kv_heads"],
        rope_theta=1_000_000,
        norm_eps=1e-5,
    )


def stepper(spec: Spec) -> Stepper:
    """The side of a worker."""
    rows = peer_examples.load(Path(spec.directory))
    pairs = [pair for batch in rows for pair in peer_examples.unpack(batch)]
    model = llama3.Llama3(model_config(spec.sizes), rngs=nnx.Rngs(0))
    return Stepper(model, spec.beta, pairs, len(rows))
