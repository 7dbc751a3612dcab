"""What the loss is taken of, and in what pieces a device evaluates it."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from xcot_jax import devices
from xcot_jax.models.logits import LogitRule
from xcot_jax.pytree import pytree

CHUNK_SHARE = 32
"""Logits of one chunk, in fp32, take at most one part in this many of a device's memory."""

HEAD_SHARE = 16
"""A head gathered from other devices, and its gradient, likewise: else it is gathered in parts."""

CHUNK_ROWS = {"cpu": 128}
"""Hidden states in a chunk, by platform, where memory allows them; elsewhere 2,048. Each chunk
reads the head and adds to its gradient once, which takes as long as the products of some hundred
states on accelerators; a larger chunk than needed wastes half of itself at the end of a batch."""


@pytree
class LossSlots:
    """Where in each row which token is predicted; column 0 is the teacher's.

    Attributes:
      positions: index in the row of the hidden state that predicts the target.
      targets: token ids.
      ce_weight: weight of the entry's cross-entropy; 0 for an empty entry.
      kd_weight: weight of the divergence between column 0 and columns 1 to C-1.
    """

    positions: Int[Array | np.ndarray, "B S C"]
    targets: Int[Array | np.ndarray, "B S C"]
    ce_weight: Float[Array | np.ndarray, "B S C"]
    kd_weight: Float[Array | np.ndarray, "B S C-1"]


def weight_totals(slots: LossSlots) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The divisors of the two terms: weight sums over all rows of all devices, at least 1e-6."""
    return jnp.maximum(slots.ce_weight.sum(), 1e-6), jnp.maximum(slots.kd_weight.sum(), 1e-6)


@dataclasses.dataclass(frozen=True)
class Objective:
    """The constants of the loss; hashable, so that a step compiles once for each.

    Attributes:
      beta: weight of the distillation term; at 0 it is not computed at all.
      temperature: softmax temperature T of the distillation term.
      chunk_slots: slots a device evaluates at once; 0 picks a number by platform and memory.
      head_parts: parts of the vocabulary in which a head that is spread over devices is gathered;
        0 picks the fewest that memory allows. With more than one, logits are computed twice.
      warmup_steps: of training, over which beta rises linearly to its value (`train_step`).
    """

    beta: float = 0.0
    temperature: float = 1.0
    chunk_slots: int = 0
    head_parts: int = 0
    warmup_steps: int = 0


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a program is compiled for.

    Attributes:
      objective: the constants of the loss.
      rule: from products with the head to logits.
      frozen_head: whether the head has no gradient.
      mesh: the devices, if there is more than one.
      device: one of them, or what a topology tells of it.
    """

    objective: Objective
    rule: LogitRule
    frozen_head: bool
    mesh: Mesh | None
    device: Any

    def chunk_slots(self, columns: int, vocabulary: int) -> int:
        """Slots of so many columns that are evaluated at once against a shard of the vocabulary."""
        if self.objective.chunk_slots:
            return self.objective.chunk_slots
        rows = CHUNK_ROWS.get(self.device.platform, 2_048)
        if kind := devices.kind_of(self.device):
            rows = min(rows, kind.memory // (CHUNK_SHARE * 4 * vocabulary))
        return max(rows // columns, 8)

    def head_parts(self, width: int, vocabulary: int, bytes_per_weight: int) -> int:
        """Parts of a shard of the vocabulary that are gathered one after the other.

        Args:
          width: hidden size.
          vocabulary: columns of the shard.
          bytes_per_weight: of a gathered weight and of its gradient.

        Raises:
          ValueError: if the objective asks for a number that does not divide the shard.
        """
        if parts := self.objective.head_parts:
            if vocabulary % parts:
                raise ValueError(
                    f"head_parts = {parts} does not divide the {vocabulary:,} columns of the head "
                    "that each device has; 0 picks a number"
                )
            return parts
        parts = 1
        if kind := devices.kind_of(self.device):
            room, need = kind.memory // HEAD_SHARE, width * vocabulary * bytes_per_weight
            while need > parts * room and vocabulary % (2 * parts) == 0:
                parts *= 2
        return parts
