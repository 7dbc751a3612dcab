"""xcot-jax: cross-lingual chain-of-thought distillation in one pass, in JAX."""

__version__ = "0.1.0"
