"""A story and how it is told: slots filled with a language's words."""

from __future__ import annotations

import dataclasses
import functools
import re

from data_prep import stories
from data_prep.stories.tables import PEOPLE, Table, Word

# Forms that agree with people: "m" wins over "f".
_AGREEMENT = {"@": ("name",), "@2": ("other",), "@@": ("name", "other")}
_SLOT = re.compile(r"\{(\w+)(?::([\w@]+)(?:\.(\w+))?)?\}")
_SENTENCE_START = re.compile(r"(?:^|(?<=[.?!] ))\w")


@dataclasses.dataclass(frozen=True)
class Story:
    """What a problem says, whatever the language: a template and, in English, what fills it.

    Of what the template has no slot for, the field is empty.
    """

    template: str
    noun: str
    get: str
    lose: str
    container: str
    name: str
    other: str
    numbers: tuple[int, ...]

    @property
    def kernel(self) -> tuple[str | int, ...]:
        """The story without names and containers: kernels of training are never held out."""
        return (self.template, self.noun, self.get, self.lose, *self.numbers)


@functools.cache
def slots(code: str, template: str) -> frozenset[str]:
    """The words a template speaks of, such as `noun`, `get` or `other`."""
    found = _SLOT.finditer(stories.table(code).templates[template])
    return frozenset(name for match in found for name in match.groups() if name)


def render(story: Story, table: Table) -> str:
    """The question of a story in a table's language."""
    text = "".join(
        piece if isinstance(piece, str) else _fill(piece, story, table)
        for piece in _pieces(table.code, story.template)
    )
    return _SENTENCE_START.sub(lambda match: match.group().upper(), text)


@dataclasses.dataclass(frozen=True)
class _Slot:
    name: str
    form: str
    variant: str


@functools.cache
def _pieces(code: str, template: str) -> tuple[str | _Slot, ...]:
    text = stories.table(code).templates[template]
    pieces: list[str | _Slot] = []
    done = 0
    for match in _SLOT.finditer(text):
        pieces += [text[done : match.start()], _Slot(*(group or "" for group in match.groups()))]
        done = match.end()
    return (*pieces, text[done:])


def _fill(slot: _Slot, story: Story, table: Table) -> str:
    if slot.name[0] == "n" and slot.name[1:].isdigit():
        number = story.numbers[int(slot.name[1:]) - 1]
        if not slot.form:
            return str(number)
        return table.count(number, _word(slot.form, story, table), slot.variant)
    people = _AGREEMENT.get(slot.form)
    form = max(PEOPLE[getattr(story, who)] for who in people) if people else slot.form
    return _word(slot.name, story, table)[form]


def _word(name: str, story: Story, table: Table) -> Word:
    match name:
        case "name" | "other":
            return table.people[getattr(story, name)]
        case "noun":
            return table.nouns[story.noun]
        case "container":
            return table.containers[story.container]
        case "get":
            return table.get[story.get]
        case "lose":
            return table.lose[story.lose]
    return table.extras[name]


def with_noun(pattern: str, noun: Word) -> str:
    """A phrase such as "{noun} {noun:ask}" with its slots filled by a noun's forms."""
    return _SLOT.sub(lambda match: noun[match[2] or ""], pattern)
