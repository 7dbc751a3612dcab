"""Teachers in every high-resource language, one drawn for each problem."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.data_prep.test_groups import made, problem, settings
from xcot_jax import cli

STUDY = Path(__file__).parents[2] / "configs" / "studies" / "teachers.py"


@pytest.mark.parametrize("students", [1, 2])
def test_every_high_resource_language_teaches_where_teachers_are_drawn(students):
    languages, drawn = ("en", "de", "fr", "sw"), Counter()
    run = settings(
        students, repeat=2, languages=languages, high=("en", "de", "fr"), teacher_language="drawn"
    )
    for number in range(300):
        one = problem(f"q{number}", languages)
        groups = made(one, run)
        (teacher,) = {group.teacher.language for group in groups}
        assert {group.teacher.prompt for group in groups} == {
            f"Question: {one.question[teacher]}\nAnswer:\n"
        }
        spoken = Counter(view.language for group in groups for view in group.students)
        assert spoken == {code: 1 + (code == "sw") for code in languages if code != teacher}
        drawn[teacher] += 1
    assert set(drawn) == {"en", "de", "fr"}
    assert all(n == pytest.approx(100, abs=40) for n in drawn.values())


def test_a_drawn_teacher_reads_what_is_restated_but_not_what_is_switched():
    run = settings(
        teacher_language="drawn", languages=("en", "de", "sw"), xicl=1, random_cot=1, rate=1.0
    )
    recipes = set()
    for number in range(200):
        for group in made(problem(f"q{number}", ("en", "de", "sw")), run):
            recipes.add((group.recipe, group.teacher.language))
            assert group.teacher.language not in {view.language for view in group.students}
    assert recipes == {("xicl", "en"), ("random_cot", "en"), ("random_cot", "de")}


@pytest.mark.parametrize(("variant", "speak"), [("drawn", {"en", "es", "zh"}), ("english", {"en"})])
def test_the_command_prepares_the_study_s_teachers(tmp_path, variant, speak):
    story = {"high_count": 60, "low_count": 6, "heldout_count": 4}
    arguments = [f"--config.prep.story.{key}={value}" for key, value in story.items()]
    cli.run(["prep", f"--config={STUDY}:{variant}", f"--out={tmp_path / 'data'}", *arguments])
    card = json.loads((tmp_path / "data" / "data_card.json").read_text("utf-8"))
    assert set(card["teacher_views"]["train"]) == speak
