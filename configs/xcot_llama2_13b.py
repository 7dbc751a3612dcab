"""xCoT on Llama 2 13B, one of the paper's bases.

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
    config.name = "xCoT Llama 2 13B"
    config.data.dir = "runs/xcot_llama2_13b/data"
    config.model.preset = "llama2_13b"
    config.model.init_from = "checkpoints/Llama-2-13b-hf"
    return config
