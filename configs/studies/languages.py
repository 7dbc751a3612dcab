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
"""At one budget, and with all ten languages at a growing one: the same run, at the end of both."""


def titled(count: int, budget: str) -> str:
    return f"{count} language{'s' if count > 1 else ''}, {budget}"


VARIANTS = {f"same-{n}": titled(n, "one budget") for n in COUNTS} | {
    f"growing-{n}": titled(n, "growing budget") for n in COUNTS
}
STUDY = {
    "title": "How many languages to train on together",
    "baseline": "same-1",
    "seeds": (0, 1),
    "varies": ("train.steps", "train.checkpoint_every"),
    "power_law": True,
    "x": {f"same-{n}": n for n in COUNTS} | {f"growing-{n}": n for n in COUNTS},
    "x_title": "low-resource languages trained on",
    "series": {f"same-{n}": "one budget" for n in COUNTS}
    | {f"growing-{n}": "growing budget" for n in COUNTS},
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
