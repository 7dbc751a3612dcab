"""Study: whether English teaches all languages, or every high-resource language does.

    xcot study --config=configs/studies/teachers.py --out=runs/studies/teachers

Three languages are high-resource here, on the same 2,000 questions. English is the teacher of all
others, or each problem draws one of the three, and the other two learn from it as well.
"""

from ml_collections import ConfigDict
from quickstart_sft import get_config as baseline

VARIANTS = {
    "english-pairs": "English teaches, beta 0",
    "english": "English teaches, beta 1, T 2",
    "drawn-pairs": "one of three teaches, beta 0",
    "drawn": "one of three teaches, beta 1, T 2",
}
STUDY = {
    "title": "Teachers in one high-resource language or in three",
    "baseline": "english-pairs",
    "seeds": (0, 1),
    "factors": {
        "the loss": (("english", "english-pairs"), ("drawn", "drawn-pairs")),
        "teachers of three languages": (("drawn-pairs", "english-pairs"), ("drawn", "english")),
    },
}


def get_config(variant: str = "drawn") -> ConfigDict:
    teachers, _, pairs = variant.partition("-")
    config = baseline()
    config.name = VARIANTS[variant]
    config.high_resource = ("en", "es", "zh")
    config.prep.update(teacher=True, teacher_language="drawn" if teachers == "drawn" else "first")
    config.prep.story.high_count = 2_000
    config.loss = ConfigDict({"beta": 0.0} if pairs else {"beta": 1.0, "temperature": 2.0})
    return config
