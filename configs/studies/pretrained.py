"""Study: the parts of xCoT on a model that has read every language before.

    xcot study --config=configs/studies/pretrained.py --out=runs/studies/pretrained

A decoder is first trained as a language model on questions of all eleven languages, each question
in one of them alone, with the words that low-resource training withholds and without any answer.
All variants start from it, as fine-tuning starts from a pretrained model: its teacher knows more
than the few labels say.
"""

from ablation import get_config as ablation
from ml_collections import ConfigDict
from quickstart_sft import get_config as baseline

STUDY = {
    "title": "The parts of xCoT on a pretrained start",
    "baseline": "sft",
    "method": "xcot",
    "start": "pretraining",
    "seeds": (0, 1),
    "varies": ("data.student_ce",),
    "factors": {
        "xDistill's loss": (("xdistill", "pairs"),),
        "xDistill's loss, students without labels": (("no-labels-xdistill", "no-labels"),),
        "labels of the students": (("xdistill", "no-labels-xdistill"),),
        "Random-CoT and xDistill": (("xcot", "xicl"),),
    },
}
VARIANTS = {
    "pretraining": "language model",
    "english": "English-only SFT",
    "sft": "multilingual SFT",
    "xicl": "+ xICL",
    "random-cot": "+ Random-CoT",
    "pairs": "control: + pairs, beta 0",
    "xdistill": "+ xDistill",
    "no-labels": "control: + pairs, students without labels",
    "no-labels-xdistill": "+ xDistill, students without labels",
    "xcot": "xCoT: all",
}


def get_config(variant: str = "xcot") -> ConfigDict:
    if variant == "pretraining":
        config = baseline()
        config.name = VARIANTS[variant]
        config.prep.mixture = ConfigDict({"instruct": 0.0, "monolingual": 1.0})
        config.prep.repeat_low_resource = 1
        config.prep.story.update(high_count=6_000, low_count=6_000, withheld=0.0)
        return config
    part = variant if variant in ("english", "sft", "xicl", "random-cot", "xcot") else "xdistill"
    config = ablation(part)
    config.name = VARIANTS[variant]
    config.model.update(init_from="start", width=0, layers=0, heads=0, tied_head=False)
    config.prep.tokenizer.train = False
    if variant in ("pairs", "no-labels"):
        config.loss.beta = 0.0
    if variant.startswith("no-labels"):
        config.data.student_ce = 0.0
    return config
