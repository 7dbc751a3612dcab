"""Study: how much xCoT gains by the number of questions a low-resource language has.

xcot study --config=configs/studies/low_resource.py --out=runs/studies/low_resource
"""

from ml_collections import ConfigDict
from quickstart_sft import get_config as sft
from quickstart_xcot import get_config as xcot

METHODS = {"sft": ("multilingual SFT", sft), "xcot": ("xCoT", xcot)}
COUNTS = (10, 30, 60, 200, 600)

VARIANTS = {
    f"{method}-{count}": f"{title}, {count} questions"
    for method, (title, _) in METHODS.items()
    for count in COUNTS
}
STUDY = {
    "title": "Accuracy by the number of low-resource questions",
    "baseline": "sft-60",
    "method": "xcot-60",
    "seeds": (0, 1),
    "factors": {
        "xCoT": tuple((f"xcot-{count}", f"sft-{count}") for count in COUNTS),
        "xCoT in place of 590 questions": (("xcot-10", "sft-600"),),
        "from 60 to 200 questions": (("sft-200", "sft-60"), ("xcot-200", "xcot-60")),
        "from 200 to 600 questions": (("sft-600", "sft-200"), ("xcot-600", "xcot-200")),
    },
    "x": {variant: int(variant.partition("-")[2]) for variant in VARIANTS},
    "x_title": "training questions of each low-resource language",
    "series": {
        title: tuple(f"{method}-{count}" for count in COUNTS)
        for method, (title, _) in METHODS.items()
    },
}


def get_config(variant: str = "xcot-60") -> ConfigDict:
    method, _, count = variant.partition("-")
    config = METHODS[method][1]()
    config.name = VARIANTS[variant]
    config.prep.story.low_count = int(count)
    return config
