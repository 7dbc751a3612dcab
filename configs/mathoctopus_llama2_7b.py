"""MathOctopus (arXiv 2310.20246) on Llama 2 7B: the baseline of `xcot_llama2_7b.py`, no teacher.

Rows of `prep.path` need an `answer` in each language (see `gsm8k_mathoctopus.py`). Variants: those
of `xcot_llama2_7b.py`.
"""

from gsm8k_mathoctopus import get_config as mathoctopus
from ml_collections import ConfigDict
from xcot_llama2_7b import VARIANTS as VARIANTS
from xcot_llama2_7b import get_config as xcot


def get_config(variant: str = "") -> ConfigDict:
    config = xcot(variant)
    baseline = mathoctopus()
    config.name = "MathOctopus Llama 2 7B"
    config.prep = baseline.prep
    config.prep.tokenizer = ConfigDict({"train": False})
    config.loss = baseline.loss
    config.eval = baseline.eval
    config.data.dir = "runs/mathoctopus_llama2_7b/data"
    return config
