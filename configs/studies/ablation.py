"""Study: what each part of xCoT adds to multilingual instruction tuning, at equal steps and rows.

    xcot study --config=configs/studies/ablation.py --out=runs/studies/ablation

The embedded benchmark as in the quickstart: English has 6,000 training questions, each other
language 60, and the test asks for words these have never shown.
"""

from ml_collections import ConfigDict
from quickstart_sft import get_config as baseline
from quickstart_xcot import get_config as xcot

STUDY = {
    "title": "What each part of xCoT adds",
    "baseline": "sft",
    "method": "xcot",
    "seeds": (0, 1, 2),
    "factors": {
        "xICL": (
            ("xicl", "sft"),
            ("xicl-random-cot", "random-cot"),
            ("xicl-xdistill", "xdistill"),
            ("xcot", "random-cot-xdistill"),
        ),
        "Random-CoT": (
            ("random-cot", "sft"),
            ("xicl-random-cot", "xicl"),
            ("random-cot-xdistill", "xdistill"),
            ("xcot", "xicl-xdistill"),
        ),
        "xDistill": (
            ("xdistill", "sft"),
            ("random-cot-xdistill", "random-cot"),
            ("xicl-xdistill", "xicl"),
            ("xcot", "xicl-random-cot"),
        ),
        "xDistill's loss": (("xdistill", "pairs"),),
        "switching": (("xicl", "plain-twice"), ("xicl", "dictionary")),
        "words never seen": (("xcot", "seen-words"),),
    },
}
VARIANTS = {
    "english": "English-only SFT",
    "sft": "multilingual SFT",
    "xicl": "+ xICL",
    "random-cot": "+ Random-CoT",
    "xdistill": "+ xDistill",
    "xicl-xdistill": "+ xICL + xDistill",
    "xicl-random-cot": "+ xICL + Random-CoT",
    "random-cot-xdistill": "+ Random-CoT + xDistill",
    "xcot": "xCoT: all",
    "plain-twice": "control: as xICL, nothing switched",
    "pairs": "control: as xDistill, beta 0",
    "dictionary": "control: xICL's words as dictionary rows",
    "seen-words": "control: xCoT, seen words only",
}
MIXTURES = {"xicl": 1.0, "random-cot": 0.25}
"""Weights beside three of plain instruction, by which a low-resource question's recipe is drawn;
with xICL each English problem without such a question is seen switched too."""
ALL = (*MIXTURES, "xdistill")
PARTS = {
    "xicl-xdistill": ("xicl", "xdistill"),
    "xicl-random-cot": ("xicl", "random-cot"),
    "random-cot-xdistill": ("random-cot", "xdistill"),
    "xcot": ALL,
    "seen-words": ALL,
}
"""What variants of several parts are made of."""


def get_config(variant: str = "xcot") -> ConfigDict:
    config = baseline()
    config.name = VARIANTS[variant]
    parts = PARTS.get(variant, (variant,))
    if variant == "english":
        config.prep.story.low_count = 0
    mixture = {part.replace("-", "_"): MIXTURES[part] for part in MIXTURES if part in parts}
    if variant in ("plain-twice", "dictionary"):
        mixture["xicl" if variant == "plain-twice" else "dictionary"] = MIXTURES["xicl"]
    if mixture:
        config.prep.mixture = ConfigDict({"instruct": 3.0, **mixture})
    if "xicl" in mixture or "dictionary" in mixture:
        lexicon = "story-seen" if variant == "seen-words" else "story"
        rate = 0.0 if variant == "plain-twice" else 0.8
        config.prep.xicl = ConfigDict({"lexicon": (lexicon,), "rate": rate})
    config.prep.teacher = "xdistill" in parts or variant == "pairs"
    if "xdistill" in parts:
        config.loss = xcot().loss
    return config
