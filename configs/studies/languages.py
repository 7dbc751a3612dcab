"""Study: how many low-resource languages to train on together, at one budget and at a growing one.

    xcot study --config=configs/studies/languages.py --out=runs/studies/languages

The first of `ORDER` are trained on beside English, with all parts of xCoT; all eleven languages are
tested. At one budget every run takes the same tokens; at a growing one each language brings its own
share of them. Either series is fitted by a power law, as the Parallel Scaling Law has it
(arXiv 2510.02272).
"""

from ablation import get_config as ablation
from ml_collections import ConfigDict

ORDER = ("sw", "de", "th", "fr", "bn", "ru", "te", "es", "zh", "ja")
COUNTS = (1, 2, 4, 7, 10)
STEPS = 1_450
"""At one budget, and with all ten languages at a growing one: both end in the same run."""

SAME = {f"same-{n}": n for n in COUNTS}
GROWING = {f"growing-{n}": n for n in COUNTS[:-1]} | {"same-10": 10}
VARIANTS = {
    "same-1": "1 language, one budget",
    "same-2": "2 languages, one budget",
    "same-4": "4 languages, one budget",
    "same-7": "7 languages, one budget",
    "same-10": "10 languages, either budget",
    "growing-1": "1 language, growing budget",
    "growing-2": "2 languages, growing budget",
    "growing-4": "4 languages, growing budget",
    "growing-7": "7 languages, growing budget",
}
STUDY = {
    "title": "How many languages to train on together",
    "baseline": "same-1",
    "seeds": (0, 1),
    "varies": ("train.steps", "train.checkpoint_every"),
    "power_law": True,
    "x": SAME | GROWING,
    "x_title": "low-resource languages trained on",
    "series": {"one budget": tuple(SAME), "growing budget": tuple(GROWING)},
}


def get_config(variant: str = "same-10") -> ConfigDict:
    budget, count = variant.split("-")
    config = ablation("xcot")
    config.name = VARIANTS[variant]
    chosen = ("en", *ORDER[: int(count)])
    if int(count) < len(ORDER):
        config.prep.languages = chosen
    if budget == "growing":
        steps = STEPS * len(chosen) // (1 + len(ORDER))
        config.train.update(steps=steps, checkpoint_every=steps)
    return config
