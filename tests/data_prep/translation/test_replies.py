"""What chat models put around a translation goes, and nothing of the translation does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.translation.replies import cleaned

QUOTED = ["{}", '"{}"', "“{}”", "„{}“", "«{}»", "「{}」", "'{}'", "`{}`"]
WRAPPED = ["{}", "```\n{}\n```", "```text\n{}```", "<think>It says\n5.</think>\n\n{}", "\n {} \n"]
TEXTS = [
    "Wie viele?",
    "5",
    "Sie sagt: \"Nein\" und 'Ja'.",
    "Er hat 3 < 4 Eier;\ndann `5`.",
    "小明有3个苹果。",
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("quoted", QUOTED)
@pytest.mark.parametrize("wrapped", WRAPPED)
def test_wrapping_is_taken_off(text, quoted, wrapped):
    if quoted != "{}" and any(mark in text for mark in quoted if mark not in "{}"):
        return  # Then nobody can say what belongs to the text.
    assert cleaned(wrapped.format(quoted.format(text)), "How many?") == text


@pytest.mark.parametrize(
    "text",
    [
        '"A" und "B"',
        '"Nein", sagt sie, "5"',
        "5'",
        "“Eins” ist „eins“",
        "```a``` und ```b```",
        "a <think>b</think>",
    ],
)
def test_marks_that_belong_to_the_text_stay(text):
    assert cleaned(text, "How many?") == text


def test_quotation_marks_of_the_source_stay():
    assert cleaned("„Wie viele?“", '"How many?"') == "„Wie viele?“"


@given(st.text(), st.text())
def test_cleaning_twice_is_cleaning_once_and_never_adds(reply, source):
    once = cleaned(reply, source)
    assert once in reply and once == once.strip()
    if "```" not in reply and "<think>" not in reply:
        assert cleaned(once, source) == once
