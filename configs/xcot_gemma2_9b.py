"""xCoT on Gemma 2 9B.

Settings and use: `configs/pod.py`. Variants: v5e-64, v6e-64.
"""

from ml_collections import ConfigDict
from pod import get_config as pod

VARIANTS = {
    "v5e-64": (64, 4),
    "v6e-64": (64, 8),
}
"""Chips, and rows of a chip."""


def get_config(variant: str = "") -> ConfigDict:
    config = pod(variant, VARIANTS)
    config.name = "xCoT Gemma 2 9B"
    config.data.dir = "runs/xcot_gemma2_9b/data"
    config.model.preset = "gemma2_9b"
    config.model.init_from = "checkpoints/gemma-2-9b"
    return config
