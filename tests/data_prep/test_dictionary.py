"""Dictionary rows: the words that xICL would switch, to be translated in either direction."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from tests.data_prep.test_groups import groups_of, problem, settings
from xcot_jax import cli

STUDY = Path(__file__).parents[2] / "configs" / "studies" / "ablation.py"


def test_dictionary_rows_hold_the_words_that_xicl_would_switch():
    run = settings(teacher=False, instruct=0, dictionary=1, repeat=40)
    english, swahili = "apples, How many", "apples_sw, Howmany_sw"
    rows = [r.group for r in groups_of(problem("a", ("en", "sw")), run) if not isinstance(r, str)]
    found = {(row.students[0].language, row.students[0].prompt, row.answer) for row in rows}
    assert found == {
        ("en", f"Question: {english}\nAnswer in Swahili:\n", swahili),
        ("sw", f"Question: {swahili}\nAnswer in English:\n", english),
    }
    assert len(rows) == 40 and not any(row.teacher for row in rows)


def test_dictionary_rows_of_a_question_in_english_alone():
    rows = [
        result.group.students[0].prompt
        for number in range(40)
        for result in groups_of(problem(f"d{number}"), settings(teacher=False, dictionary=1))
        if not isinstance(result, str)
    ]
    assert any("apples_de" in prompt for prompt in rows)
    assert any(prompt.endswith("Answer in German:\n") for prompt in rows)


def test_words_the_lexicon_lacks_make_no_dictionary_row():
    one = dataclasses.replace(problem("a"), question={"en": "And then?", "sw": "Na kisha?"})
    found = groups_of(one, settings(teacher=False, instruct=0, dictionary=1))
    why = "group: no recipe of the mixture fits a question in"
    assert sorted(found) == [f"{why} en", f"{why} sw"]


def test_the_command_prepares_the_study_s_control(tmp_path):
    story = {"high_count": 200, "low_count": 6, "heldout_count": 4}
    arguments = [f"--config.prep.story.{key}={value}" for key, value in story.items()]
    cli.run(["prep", f"--config={STUDY}:dictionary", f"--out={tmp_path / 'data'}", *arguments])
    card = json.loads((tmp_path / "data" / "data_card.json").read_text("utf-8"))
    views = card["student_views"]["train"]
    assert set(views) == {"instruct", "dictionary"}
    assert len(views["dictionary"]) == 11  # Asked in English, and in each language into it.
