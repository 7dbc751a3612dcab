"""xCoT on Qwen 3 8B.

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
    config.name = "xCoT Qwen 3 8B"
    config.data.dir = "runs/xcot_qwen3_8b/data"
    config.model.preset = "qwen3_8b"
    config.model.init_from = "checkpoints/Qwen3-8B-Base"
    return config
