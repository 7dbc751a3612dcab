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
    """AdamW, or Muon for the matrices of the blocks and AdamW for all else; behind clipping.

    Clipping is by the global norm, before either.

    Args:
      settings: which, with its rates, decays and clipping.
      steps: optimizer steps of the whole run.
      axes: the parameters' logical axes; scales of norms and biases are not decayed.
    """
    rate = schedule(settings, steps)
    clip = optax.clip_by_global_norm(settings.clip_norm) if settings.clip_norm else optax.identity()
    adamw = optax.adamw(
        rate,
        b1=settings.b1,
        b2=settings.b2,
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        mask=_by_path(lambda path, _: path[-1].key not in ("scale", "bias"), axes),
    )
    if settings.name == "adamw":
        return optax.chain(clip, adamw)
    labels = _by_path(lambda *leaf: "muon" if _matrix(*leaf) else "adamw", axes)
    return optax.chain(
        clip, optax.partition({"muon": _muon(settings, rate, axes), "adamw": adamw}, labels)
    )


def _muon(settings: OptimSettings, rate: optax.Schedule, axes: Any) -> optax.GradientTransformation:
    """Muon (Jordan et al., 2024), whose updates are as large as AdamW's and so want its rates.

    That scale is from Liu et al., Muon is Scalable for LLM Training (arXiv 2502.16982, equation 4).
    """
    return optax.contrib.muon(
        rate,
        beta=settings.momentum,
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        muon_weight_dimension_numbers=_by_path(_matrix, axes),
        consistent_rms=0.2,
    )


def _matrix(path: Any, names: tuple[str, ...]) -> optax.contrib.MuonDimensionNumbers | None:
    """Which axes of a block's weight or adapter are its inputs and its outputs; None of others.

    One of the two is a single axis; the other may be heads by their width.
    """
    if path[-1].key not in ("weight", "adapter_a", "adapter_b"):
        return None
    of = [place for place, name in enumerate(names) if name != "layers"]
    inputs = 1 if names[of[0]] in ("embed", "rank") else len(of) - 1
    return optax.contrib.MuonDimensionNumbers(tuple(of[:inputs]), tuple(of[inputs:]))


def _by_path(function: Any, axes: Any) -> Any:
    return jax.tree_util.tree_map_with_path(
        function, axes, is_leaf=lambda node: isinstance(node, tuple)
    )
