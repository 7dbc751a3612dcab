"""Study: where distillation from the high-resource reading helps, if anywhere, and how strong.

    xcot study --config=configs/studies/distillation.py --out=runs/studies/distillation

Groups of a teacher and its students without code-switching or Random-CoT, so that nothing else
moves. "no labels" takes the cross-entropy from students that have a teacher, as if their questions
were parallel but unlabelled: there a teacher says what no label does.
"""

from ml_collections import ConfigDict
from quickstart_sft import get_config as baseline

SETTINGS = {
    "pairs": {"beta": 0.0},
    "beta-0.3": {"beta": 0.3},
    "beta-1": {"beta": 1.0},
    "beta-3": {"beta": 3.0},
    "t-2": {"beta": 1.0, "temperature": 2.0},
    "warm-up": {"beta": 1.0, "warmup_steps": 725},
    "k-3-pairs": {"beta": 0.0},
    "k-3": {"beta": 1.0},
    "no-labels-pairs": {"beta": 0.0},
    "no-labels": {"beta": 1.0},
}
"""Of the loss."""

VARIANTS = {
    "sft": "multilingual SFT",
    "pairs": "pairs, beta 0",
    "beta-0.3": "beta 0.3",
    "beta-1": "beta 1",
    "beta-3": "beta 3",
    "t-2": "beta 1, T 2",
    "warm-up": "beta 1, risen over half of training",
    "k-3-pairs": "three students a teacher, beta 0",
    "k-3": "three students a teacher, beta 1",
    "no-labels-pairs": "students without labels, beta 0",
    "no-labels": "students without labels, beta 1",
}
STUDY = {
    "title": "Distillation alone",
    "seeds": (0, 1),
    "baseline": "sft",
    "varies": ("data.student_ce", "data.students", "data.row_", "data.batch_rows"),
    "factors": {
        "the loss": tuple(
            (variant, "pairs") for variant in ("beta-0.3", "beta-1", "beta-3", "t-2", "warm-up")
        ),
        "the loss, three students a teacher": (("k-3", "k-3-pairs"),),
        "the loss, students without labels": (("no-labels", "no-labels-pairs"),),
        "T 2": (("t-2", "beta-1"),),
        "labels of the students": (("beta-1", "no-labels"),),
        "three students a teacher": (("k-3-pairs", "pairs"), ("k-3", "beta-1")),
    },
}


def get_config(variant: str = "beta-1") -> ConfigDict:
    config = baseline()
    config.name = VARIANTS[variant]
    if variant == "sft":
        return config
    config.prep.teacher = True
    config.loss = ConfigDict(SETTINGS[variant])
    if variant.startswith("no-labels"):
        config.data.student_ce = 0.0
    if variant.startswith("k-3"):  # As many tokens a step, in rows that four views fill as well.
        config.data.update(students=3, row_tokens=512, row_slots=80, batch_rows=2)
    return config
