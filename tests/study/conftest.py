"""A study whose runs need not run."""

from __future__ import annotations

import pytest

from xcot_jax.study import plan
from xcot_jax.study.analysis import Found, Score, compare

STUDY = """
from ml_collections import ConfigDict

COUNTS = (1, 2, 4)
VARIANTS = {f"n-{n}": f"{n} languages" for n in COUNTS}
STUDY = {
    "title": "How many", "baseline": "n-1", "seeds": (0, 1),
    "measures": ("accuracy", "cross_entropy"), "varies": ("train.steps",), "power_law": True,
    "factors": {"three more": (("n-4", "n-1"),), "one more": (("n-2", "n-1"), ("n-4", "n-2"))},
    "x": {f"n-{n}": n for n in COUNTS}, "x_title": "languages",
}


def get_config(variant="n-1"):
    return ConfigDict({"name": variant, "train": {"steps": int(variant[2:])}})
"""


@pytest.fixture
def small(tmp_path):
    """A study of three variants, whose low-resource means follow 0.2 n^0.5 and 3 n^-0.5."""
    file = tmp_path / "many.py"
    file.write_text(STUDY)
    read = plan.read(file)

    def found(factor: float, exponent: float) -> list[Found]:
        def score(variant: str, seed: int) -> Score:
            low = factor * int(variant[2:]) ** exponent
            languages = {"en": 0.9, "sw": low}
            problems = {str(n): low for n in range(5)}
            return Score(variant, seed, languages, 0.9, low, 1_000_000, problems)

        scores = {
            variant: tuple(score(variant, seed) for seed in (0, 1)) for variant in read.titles
        }
        base = scores["n-1"]
        return [Found(v, s, None if s is base else compare(s, base)) for v, s in scores.items()]

    return read, {"accuracy": found(0.2, 0.5), "cross_entropy": found(3.0, -0.5)}
