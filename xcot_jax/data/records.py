"""ParallelGroup: the unit of training data, and the only thing data preparation and training share.

A group travels as a `tf.train.Example`. `features` is its schema; `encode` and `decode` lay the
message out as that schema does (TensorFlow Datasets' own encoder takes some 300 us for a group,
the message classes it is built on 10), and the tests hold the two layouts equal.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from tensorflow_datasets.proto import tf_example_pb2

from xcot_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Switch:
    """A fragment of a prompt that was replaced by its translation.

    Attributes:
      start: offset of the replacement's first character in the prompt.
      end: offset after its last character.
      source: the text it replaced.
    """

    start: int
    end: int
    source: str


@dataclasses.dataclass(frozen=True)
class View:
    """One reading of a problem.

    Attributes:
      language: code of the language the question is asked in; of a code-switched one, the language
        switched to.
      prompt: what the model is given; ends with a line break.
      preamble: what the model must say before the answer (Random-CoT); ends with a line break, or
        is empty.
      switches: the code-switched fragments of the prompt, in order.
    """

    language: str
    prompt: str
    preamble: str = ""
    switches: tuple[Switch, ...] = ()


@dataclasses.dataclass(frozen=True)
class ParallelGroup:
    """Views of one problem that share one answer, token for token (xCoT, section 3).

    Attributes:
      id: unique in its dataset.
      recipe: name of the recipe that made it.
      answer: the response all views end in, stored once.
      teacher: the high-resource view whose answer distribution is distilled, or None.
      students: the views that learn from it; without a teacher they are plain instruction data.
    """

    id: str
    recipe: str
    answer: str
    teacher: View | None
    students: tuple[View, ...]

    @property
    def views(self) -> tuple[View, ...]:
        """The teacher, if there is one, then the students."""
        return ((self.teacher,) if self.teacher else ()) + self.students


def features() -> Any:
    """The schema of a record, a `tensorflow_datasets.features.FeaturesDict`. Takes no TensorFlow.

    The teacher is `views[0]` where `has_teacher`. Switches lie flat, `view` being the index of
    theirs in `views`; `start` and `end` count characters, not bytes, of its prompt.
    """
    from tensorflow_datasets import features as kinds  # half a second that reading need not pay

    view = {"language": kinds.Text(), "prompt": kinds.Text(), "preamble": kinds.Text()}
    number = kinds.Scalar(np.int64)
    switch = {"view": number, "start": number, "end": number, "source": kinds.Text()}
    return kinds.FeaturesDict(
        {
            "id": kinds.Text(),
            "recipe": kinds.Text(),
            "answer": kinds.Text(),
            "has_teacher": kinds.Scalar(np.bool_),
            "views": kinds.Sequence(view),
            "switches": kinds.Sequence(switch),
        }
    )


def encode(group: ParallelGroup) -> bytes:
    """Serialises a group; equal groups give equal bytes.

    Raises:
      InputError: for text that is not Unicode (a lone surrogate), with the group's id.
    """
    views = group.views
    switches = [(number, switch) for number, view in enumerate(views) for switch in view.switches]
    texts = {
        "id": (group.id,),
        "recipe": (group.recipe,),
        "answer": (group.answer,),
        "views/language": [view.language for view in views],
        "views/prompt": [view.prompt for view in views],
        "views/preamble": [view.preamble for view in views],
        "switches/source": [switch.source for _, switch in switches],
    }
    numbers = {
        "has_teacher": (int(group.teacher is not None),),
        "switches/view": [number for number, _ in switches],
        "switches/start": [switch.start for _, switch in switches],
        "switches/end": [switch.end for _, switch in switches],
    }
    example = tf_example_pb2.Example()
    feature = example.features.feature
    try:
        for name, strings in texts.items():
            feature[name].bytes_list.value.extend([text.encode() for text in strings])
    except UnicodeEncodeError as error:
        raise InputError(f"group {group.id!r}: {name} is not valid Unicode: {error}") from error
    for name, integers in numbers.items():
        feature[name].int64_list.value.extend(integers)
    return example.SerializeToString(deterministic=True)


def decode(record: bytes) -> ParallelGroup:
    """The group that `encode` serialised.

    Raises:
      ValueError: if the record is not a group of this schema.
    """
    try:
        feature = tf_example_pb2.Example.FromString(record).features.feature

        def texts(name: str) -> list[str]:
            return [value.decode() for value in feature[name].bytes_list.value]

        switches = [
            (view, Switch(start, end, source))
            for view, start, end, source in zip(
                feature["switches/view"].int64_list.value,
                feature["switches/start"].int64_list.value,
                feature["switches/end"].int64_list.value,
                texts("switches/source"),
                strict=True,
            )
        ]
        views = tuple(
            View(language, prompt, preamble, tuple(s for view, s in switches if view == number))
            for number, (language, prompt, preamble) in enumerate(
                zip(
                    texts("views/language"),
                    texts("views/prompt"),
                    texts("views/preamble"),
                    strict=True,
                )
            )
        )
        (name,), (recipe,), (answer,) = texts("id"), texts("recipe"), texts("answer")
        (has_teacher,) = feature["has_teacher"].int64_list.value
    except (DecodeError, ValueError) as error:
        raise ValueError(f"the record is not a ParallelGroup: {error}") from error
    if has_teacher and not views:
        raise ValueError(f"the record is not a ParallelGroup: {name!r} has a teacher but no view")
    teacher, students = (views[0], views[1:]) if has_teacher else (None, views)
    return ParallelGroup(name, recipe, answer, teacher, students)
