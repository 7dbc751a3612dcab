"""A study's page tells what was found, in the unit of each measure, as bars or as curves."""

from __future__ import annotations

import io
import json

import pytest
from matplotlib.image import imread

from xcot_jax.study import pages, plan
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


def test_each_measure_has_its_table_in_its_unit_and_its_law(small):
    text = pages.markdown(*small)
    assert "Accuracy, %:" in text and "Cross-entropy of the gold answer, nats a token:" in text
    assert "| 4 languages | 90.0 | 40.0 | 40.0 ± 0.0 | +20.0 (+20.0 to +20.0) |" in text
    assert "| 4 languages | 0.900 | 1.500 | 1.500 ± 0.000 | -1.500 (-1.500 to -1.500) |" in text
    assert "- 20 x^0.50 (95% interval of the exponent 0.50 to 0.50; R² 1.00)" in text
    assert "- 3 x^-0.50 (" in text


def test_each_factor_has_its_pairs_and_their_mean(small):
    text = pages.markdown(*small)
    row = "| three more | 1 languages | 4 languages | +20.0 (+20.0 to +20.0) |"
    assert text.count(row) == 1
    assert "| one more | 1 languages | 2 languages | +8.3 (+8.3 to +8.3) |" in text
    assert "| one more | 2 languages | 4 languages | +11.7 (+11.7 to +11.7) |" in text
    assert "| one more | all of these, mean |  | +10.0 (+8.3 to +11.7) |" in text
    assert "three more | all of these" not in text
    record = pages.record(*small)["contrasts"]["accuracy"]
    assert [entry["pair"] for entry in record if entry["factor"] == "one more"][-1] is None


def test_the_record_holds_every_run_by_every_measure(small):
    record = json.loads(json.dumps(pages.record(*small)))
    assert record["figures"] == {
        "low_resource_gain": pytest.approx(20),
        "english_change": 0,
        "p_value": pytest.approx(2 / 2**5, abs=0.02),
    }
    assert record["figures_of"] == "n-4"
    assert [(run["variant"], run["seed"]) for run in record["runs"]] == [
        (f"n-{n}", seed) for seed in (0, 1) for n in (1, 2, 4)
    ]
    assert {name for run in record["runs"] for name in run["measured"]} == set(small[1])
    assert record["power_laws"]["cross_entropy"][""]["exponent"] == pytest.approx(-0.5)


@pytest.mark.parametrize("axis", [True, False], ids=["curves", "bars"])
def test_the_picture_has_a_panel_a_measure(small, axis, tmp_path):
    read, found = small
    if not axis:
        file = tmp_path / "bars.py"
        file.write_text(STUDY.replace('"x": {f"n-{n}": n for n in COUNTS}, ', ""))
        read = plan.read(file)
    pixels = imread(io.BytesIO(pages.picture(read, found)))
    one = imread(io.BytesIO(pages.picture(read, {"accuracy": found["accuracy"]})))
    assert pixels.shape[1] > one.shape[1] and pixels.shape[0] == one.shape[0]
    (tmp_path / "picture.png").write_bytes(pages.picture(read, found))
    assert pixels.std() > 0.05
