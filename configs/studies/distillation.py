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
    "beta-0.1": {"beta": 0.1},
    "beta-0.3": {"beta": 0.3},
    "beta-1": {"beta": 1.0},
    "beta-3": {"beta": 3.0},
    "t-2": {"beta": 1.0, "temperature": 2.0},
    "t-4": {"beta": 1.0, "temperature": 4.0},
    "warm-up": {"beta": 1.0, "warmup_steps": 725},
}
"""Of the loss."""

VARIANTS = {
    "pairs": "pairs, beta 0",
    "beta-0.1": "beta 0.1",
    "beta-0.3": "beta 0.3",
    "beta-1": "beta 1",
    "beta-3": "beta 3",
    "t-2": "beta 1, T 2",
    "t-4": "beta 1, T 4",
    "warm-up": "beta 1, risen over half of training",
    "k-3": "beta 1, three students a teacher",
    "half-labels-1": "beta 1, students' labels at half weight",
    "no-labels-0": "no labels, beta 0",
    "no-labels-1": "no labels, beta 1",
    "no-labels-3": "no labels, beta 3",
}
STUDY = {
    "title": "Distillation alone",
    "baseline": "pairs",
    "varies": ("data.student_ce", "data.students", "data.row_", "data.batch_rows"),
}


def get_config(variant: str = "beta-1") -> ConfigDict:
    config = baseline()
    config.name = VARIANTS[variant]
    config.prep.teacher = True
    config.loss = ConfigDict(SETTINGS.get(variant, {"beta": 1.0}))
    if "labels" in variant:
        config.data.student_ce = 0.5 if variant.startswith("half") else 0.0
        config.loss.beta = float(variant.rpartition("-")[2])
    if variant == "k-3":  # As many tokens a step, in rows that four views fill as well as two do.
        config.data.update(students=3, row_tokens=512, row_slots=80, batch_rows=2)
    return config
