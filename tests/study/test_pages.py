"""A study's page tells what was found, in the unit of each measure, as bars or as curves."""

from __future__ import annotations

import dataclasses
import io
import math

import numpy as np
import pytest
from matplotlib.image import imread

from tests.study.conftest import STUDY
from xcot_jax.study import pages, plan, record


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
    assert "| one more | all of these, mean |  | +10.0 (+10.0 to +10.0) |" in text
    assert "three more | all of these" not in text
    contrasts = record.record(*small, {})["contrasts"]["accuracy"]
    assert [entry["pair"] for entry in contrasts if entry["factor"] == "one more"][-1] is None


def of_colour(pixels, colour):
    """How many pixels of a picture have it."""
    red_green_blue = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    return int(np.isclose(pixels[..., :3], red_green_blue, atol=1e-3).all(axis=-1).sum())


def test_what_the_teacher_has_none_of_stays_empty(small):
    read, found = small
    lacking = [
        dataclasses.replace(
            entry,
            scores=tuple(dataclasses.replace(s, high=math.nan) for s in entry.scores),
        )
        for entry in found["accuracy"]
    ]
    text = pages.markdown(read, {"accuracy": lacking})
    assert "| three more | 1 languages | 4 languages |" in text and "nan" not in text


@pytest.mark.parametrize(
    ("axis", "colour"), [(True, "#8D99A6"), (False, "#0072B2")], ids=["curves", "bars"]
)
def test_the_picture_has_a_panel_a_measure(small, axis, colour, tmp_path):
    read, found = small
    if not axis:
        file = tmp_path / "bars.py"
        file.write_text(STUDY.replace('"x": {f"n-{n}": n for n in COUNTS}, ', ""))
        read = plan.read(file)
    pixels = imread(io.BytesIO(pages.picture(read, found)))
    one = imread(io.BytesIO(pages.picture(read, {"accuracy": found["accuracy"]})))
    assert pixels.shape[1] > one.shape[1] and pixels.shape[0] == one.shape[0]
    assert of_colour(pixels, colour) > 200  # The line, or the bar of the best.
    half = pixels.shape[1] // 2
    assert min(of_colour(pixels[:, :half], colour), of_colour(pixels[:, half:], colour)) > 50
