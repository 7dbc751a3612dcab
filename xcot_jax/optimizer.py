"""The optax chain and its schedule, from settings."""

from __future__ import annotations

import math
from typing import Any

import jax
import optax

from xcot_jax.settings import OptimSettings


def schedule(settings: OptimSettings, steps: int) -> optax.Schedule:
    """Linear warm-up from 0 to the peak, then cosine decay to `final_fraction` of it at `steps`."""
    fraction = settings.warmup_fraction
    warmup = math.ceil(fraction * steps) if fraction else min(settings.warmup_steps, steps)
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0 if warmup else settings.learning_rate,
        peak_value=settings.learning_rate,
        warmup_steps=warmup,
        decay_steps=max(steps, warmup + 1),
        end_value=settings.learning_rate * settings.final_fraction,
    )


def optimizer(settings: OptimSettings, steps: int, axes: Any) -> optax.GradientTransformation:
    """AdamW behind global-norm clipping.

    Args:
      settings: rates, decays and clipping.
      steps: optimizer steps of the whole run.
      axes: the parameters' logical axes; scales of norms and biases are not decayed.
    """
    decayed = jax.tree_util.tree_map_with_path(
        lambda path, _: path[-1].key not in ("scale", "bias"),
        axes,
        is_leaf=lambda node: isinstance(node, tuple),
    )
    clip = optax.clip_by_global_norm(settings.clip_norm) if settings.clip_norm else optax.identity()
    adamw = optax.adamw(
        schedule(settings, steps),
        b1=settings.b1,
        b2=settings.b2,
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        mask=decayed,
    )
    return optax.chain(clip, adamw)
