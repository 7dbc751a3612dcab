"""The training objective: instruction loss and cross-lingual distillation in one pass."""

from xcot_jax.losses.one_pass import LossTerms, one_pass_loss
from xcot_jax.losses.plan import LossSlots, Objective, weight_totals

__all__ = ["LossSlots", "LossTerms", "Objective", "one_pass_loss", "weight_totals"]
