"""Study: Random-CoT by its share of the data, and whether the translation is trained.

    xcot study --config=configs/studies/random_cot.py --out=runs/studies/random_cot

Each run is measured twice: asked for the answer, and asked for the question in English first.
"""

from ml_collections import ConfigDict
from quickstart_sft import get_config as baseline

SHARES = {"sft": 0.0, "quarter": 0.25, "equal": 1.0, "triple": 3.0}
VARIANTS = {
    "sft": "multilingual SFT",
    "quarter": "Random-CoT, a quarter of plain instruction",
    "equal": "Random-CoT, as much as plain instruction",
    "triple": "Random-CoT, three times as much",
    "quarter-unsaid": "a quarter, translation not trained",
    "equal-unsaid": "as much, translation not trained",
}
STUDY = {
    "title": "Random-CoT alone",
    "baseline": "sft",
    "measures": ("accuracy", "translated"),
    "varies": ("data.preamble_ce",),
    "factors": {
        "Random-CoT": (("quarter", "sft"), ("equal", "sft"), ("triple", "sft")),
        "training the translation": (("quarter", "quarter-unsaid"), ("equal", "equal-unsaid")),
    },
}


def get_config(variant: str = "equal") -> ConfigDict:
    config = baseline()
    config.name = VARIANTS[variant]
    config.eval.modes = ("direct", "translate")
    share, _, unsaid = variant.partition("-")
    if SHARES[share]:
        config.prep.mixture = ConfigDict({"instruct": 1.0, "random_cot": SHARES[share]})
    if unsaid:
        config.data.preamble_ce = 0.0
    return config
