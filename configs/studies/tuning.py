"""Study: xCoT's beta, temperature and share of Random-CoT, compared on the validation problems.

xcot study --config=configs/studies/tuning.py --out=runs/studies/tuning
"""

from ml_collections import ConfigDict
from quickstart_xcot import get_config as xcot

SETTINGS = {
    "t-1": ("beta 0.5", {"beta": 0.5}, 0.25),
    "t-2": ("beta 0.5, T 2", {"beta": 0.5, "temperature": 2.0}, 0.25),
    "beta-1": ("beta 1, T 2", {"beta": 1.0, "temperature": 2.0}, 0.25),
    "t-1-translating": ("beta 0.5, four times the Random-CoT", {"beta": 0.5}, 1.0),
    "t-2-translating": (
        "beta 0.5, T 2, four times the Random-CoT",
        {"beta": 0.5, "temperature": 2.0},
        1.0,
    ),
}
"""Of each variant: its title, `loss`, and Random-CoT's weight beside three of plain instruction."""

VARIANTS = {variant: title for variant, (title, _, _) in SETTINGS.items()}
STUDY = {
    "title": "xCoT's settings, on validation",
    "baseline": "t-1",
    "method": "beta-1",
    "seeds": (0, 1),
    "factors": {
        "T 2": (("t-2", "t-1"), ("t-2-translating", "t-1-translating")),
        "beta 1": (("beta-1", "t-2"),),
        "four times the Random-CoT": (("t-1-translating", "t-1"), ("t-2-translating", "t-2")),
    },
}


def get_config(variant: str = "beta-1") -> ConfigDict:
    config = xcot()
    config.name, loss, random_cot = SETTINGS[variant]
    config.loss = ConfigDict(loss)
    config.prep.mixture.random_cot = random_cot
    config.eval.split = "validation"
    return config
