"""The least time a training step can take: by its products, by memory, and by what chips send.

A roofline (Williams et al., 2009) with a third slope for the links between chips: each of the three
goes on while the others do, at its peak rate, so that the slowest alone decides. Real steps take
longer.
"""

from __future__ import annotations

import dataclasses

from xcot_jax.devices import Kind
from xcot_jax.models import counting
from xcot_jax.models.config import ModelConfig


@dataclasses.dataclass(frozen=True)
class Work:
    """What a chip does in a step.

    Attributes:
      model_flops: that the model cannot do without; these count for MFU.
      flops: those and what the backward pass computes again.
      hbm_bytes: read from and written to memory.
      sent_bytes: sent to other chips.
    """

    model_flops: float
    flops: float
    hbm_bytes: float
    sent_bytes: float


@dataclasses.dataclass(frozen=True)
class Roofline:
    """Lower bounds of a step's time, in seconds.

    Attributes:
      compute: all products at the peak rate.
      memory: all bytes at the memory's bandwidth.
      links: all that is sent, over all links at once.
      mfu: share of the peak that the model's FLOPs reach in a step of `seconds`.
    """

    compute: float
    memory: float
    links: float
    mfu: float

    @property
    def seconds(self) -> float:
        """The least time of a step."""
        return max(self.compute, self.memory, self.links)

    @property
    def binding(self) -> str:
        """The name of the bound that decides."""
        return max(("compute", "memory", "links"), key=lambda name: getattr(self, name))


def roofline(work: Work, kind: Kind) -> Roofline:
    """The bounds of a chip's work on a kind of chip."""
    bounds = (
        work.flops / kind.flops,
        work.hbm_bytes / kind.bandwidth,
        work.sent_bytes / kind.links,
    )
    return Roofline(*bounds, mfu=work.model_flops / kind.flops / max(bounds))


def step_flops(
    config: ModelConfig, *, rows: int, tokens: int, slots: int, columns: int
) -> tuple[int, int]:
    """FLOPs of a step on full rows: the model's own, and with what is computed again.

    Every row counts as one text that fills it, and every slot entry as used, so that real batches
    take somewhat fewer. `remat` "full" computes the blocks, not the head, a second time.
    """
    head_slots = rows * slots * columns
    model = counting.training_flops(config, [tokens] * rows, head_slots)
    if config.remat != "full":
        return model, model
    pairs = rows * counting.attended_pairs(config, [tokens])
    again = counting.forward_flops(config, tokens=rows * tokens, attended_pairs=pairs, head_slots=0)
    return model, model + again
