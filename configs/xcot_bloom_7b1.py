"""xCoT on BLOOM 7B1, one of the paper's bases.

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
    config.name = "xCoT BLOOM 7B1"
    config.data.dir = "runs/xcot_bloom_7b1/data"
    config.model.preset = "bloom_7b1"
    config.model.init_from = "checkpoints/bloom-7b1"
    return config
