"""Records: a group survives serialisation, in exactly the layout its schema describes."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xcot_jax.data.records import ParallelGroup, Switch, View, decode, encode, features
from xcot_jax.errors import InputError

TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
NUMBER = st.integers(0, 2**63 - 1)
VIEW = st.tuples(TEXT, TEXT, TEXT, st.lists(st.tuples(NUMBER, NUMBER, TEXT), max_size=3))
GROUP = st.tuples(TEXT, TEXT, TEXT, st.none() | VIEW, st.lists(VIEW, max_size=3))


def build(drawn) -> ParallelGroup:
    """The group of drawn values. (Built outside of the strategy, as type checks draw lots.)"""

    def view(language, prompt, preamble, switches):
        return View(language, prompt, preamble, tuple(Switch(*s) for s in switches))

    name, recipe, answer, teacher, students = drawn
    return ParallelGroup(
        name, recipe, answer, teacher and view(*teacher), tuple(view(*s) for s in students)
    )


def as_tfds_example(group: ParallelGroup) -> dict:
    """The group as a user of `features` would write it down."""
    return {
        "id": group.id,
        "recipe": group.recipe,
        "answer": group.answer,
        "has_teacher": group.teacher is not None,
        "views": [
            {"language": v.language, "prompt": v.prompt, "preamble": v.preamble}
            for v in group.views
        ],
        "switches": [
            {"view": number, **dataclasses.asdict(switch)}
            for number, view in enumerate(group.views)
            for switch in view.switches
        ],
    }


@given(GROUP)
def test_any_group_survives(drawn):
    group = build(drawn)
    assert decode(encode(group)) == group


@settings(max_examples=50, deadline=None)
@given(GROUP)
def test_tfds_own_encoder_is_decoded_alike_and_reads_our_bytes(drawn):
    group = build(drawn)
    schema = features()
    example = as_tfds_example(group)
    theirs = schema.serialize_example(schema.encode_example(example))
    assert decode(theirs) == group
    read = schema.deserialize_example_np(encode(group))
    assert read["id"] == group.id.encode()
    assert bool(read["has_teacher"]) == example["has_teacher"]
    assert list(read["views"]["prompt"]) == [v.prompt.encode() for v in group.views]
    assert list(read["switches"]["end"]) == [s["end"] for s in example["switches"]]


@given(GROUP)
def test_equal_groups_give_equal_bytes(drawn):
    group = build(drawn)
    assert encode(build(drawn)) == encode(group)


@pytest.mark.parametrize("record", [b"", b"\xff\xff", b"not a record"])
def test_other_records_are_refused(record):
    with pytest.raises(ValueError, match="not a ParallelGroup"):
        decode(record)


def test_text_that_is_not_unicode_names_the_group():
    with pytest.raises(InputError, match=r"'g7'.*answer"):
        encode(ParallelGroup("g7", "instruct", "\ud800", None, ()))
