"""Worked examples for few-shot prompts: plain ones, and code-switched ones as xICL shows them.

They are read from the JSON Lines file of `eval.demonstrations`. A line is either one example,
`{"language": "sw", "question": "...", "answer": "..."}`, whose answer is the whole response
(`"switched": true` says that the question is code-switched), or a problem as `xcot prep` writes it,
`{"question": {"en": "...", "sw": "..."}, "rationale": "...", "answer": "72"}`.
Without a file they are the dataset's own: plain ones from `problems/train.jsonl`, code-switched
ones from its groups of recipe `xicl`. The first in file order are shown, of the first 20,000 lines
or groups.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from xcot_jax.data.records import ParallelGroup
from xcot_jax.data.source import GroupSource
from xcot_jax.errors import InputError
from xcot_jax.evaluation.jsonl import field, json_lines
from xcot_jax.evaluation.modes import Demonstrations
from xcot_jax.prompts import Template, chosen, final_answer
from xcot_jax.settings import Settings

_log = logging.getLogger(__name__)

# (language, question, response)
_Example = tuple[str, str, str]

_LOOKED_THROUGH = 20_000
"""So that a language without examples does not have a whole corpus read at each evaluation."""

_TURN = re.compile(r"(.*?\nThe answer is [^\n]*\.)\n\n", re.DOTALL)
"""A question and its response, as `prompts.direct_prompt` and `prompts.final_answer` write them."""


def read(settings: Settings, kind: str) -> Demonstrations:
    """Examples for every language asked, one more than `eval.shots` where there are as many.

    A language without examples of its own gets plain ones in the first high-resource language; this
    is logged. In that language nothing is code-switched.

    Args:
      settings: the run's.
      kind: a key of `KINDS`.

    Raises:
      InputError: if there is no place to read them from, a line is malformed, or there are none.
    """
    wanted = settings.eval.shots + 1
    pivot = settings.high_resource[0]
    languages = dict.fromkeys((*settings.eval.languages, pivot))
    found = _first(KINDS[kind](settings), languages, wanted)
    lacking = [code for code in settings.eval.languages if not found[code]]
    if lacking and not found[pivot]:
        found[pivot] = _first(_plain(settings), [pivot], wanted)[pivot]
    if not any(found.values()) or (lacking and not found[pivot]):
        raise InputError(
            f"eval.modes: there are no {kind} demonstrations in {', '.join(lacking)}, nor plain "
            f"ones in {pivot}; name a JSON Lines file of them: --config.eval.demonstrations=FILE"
        )
    if elsewhere := [code for code in lacking if code != pivot]:
        _log.warning(
            "no %s demonstrations in %s: plain ones in %s are shown",
            kind,
            ", ".join(elsewhere),
            pivot,
        )
    return {code: tuple(found[code] or found[pivot]) for code in settings.eval.languages}


def _first(
    examples: Iterator[_Example], codes: Iterable[str], count: int
) -> dict[str, list[tuple[str, str]]]:
    """The first examples of each language; reading ends when there are enough."""
    found: dict[str, list[tuple[str, str]]] = {code: [] for code in codes}
    short = set(codes)
    for code, question, answer in examples:
        if code in short:
            found[code].append((question, answer))
            if len(found[code]) == count:
                short.discard(code)
                if not short:
                    break
    return found


def _plain(settings: Settings) -> Iterator[_Example]:
    if path := settings.eval.demonstrations:
        return _of_file(Path(path).expanduser(), switched=False)
    return _of_file(_dataset(settings) / "problems" / "train.jsonl", switched=False)


def _switched(settings: Settings) -> Iterator[_Example]:
    if path := settings.eval.demonstrations:
        return _of_file(Path(path).expanduser(), switched=True)
    return _of_groups(GroupSource(_dataset(settings), "train"), chosen(settings.prep))


KINDS: dict[str, Callable[[Settings], Iterator[_Example]]] = {
    "plain": _plain,
    "switched": _switched,
}


def _dataset(settings: Settings) -> Path:
    if not settings.data.dir:
        raise InputError(
            "data.dir is not set, which demonstrations are read from; set it to a dataset "
            "directory, or name a JSON Lines file: --config.eval.demonstrations=FILE"
        )
    return Path(settings.data.dir).expanduser()


def _of_file(path: Path, *, switched: bool) -> Iterator[_Example]:
    """The examples of a file that are code-switched, or those that are not."""
    if not path.is_file():
        raise InputError(
            f"{path}: there are no demonstrations; name a JSON Lines file of them: "
            "--config.eval.demonstrations=FILE"
        )
    for where, row in itertools.islice(json_lines(path), _LOOKED_THROUGH):
        if not isinstance(row.get("question"), Mapping):
            if bool(row.get("switched", False)) == switched:
                names = ("language", "question", "answer")
                language, question, answer = (field(where, row, name, str) for name in names)
                yield language, question, answer
        elif not switched:
            parts = (field(where, row, name, str) for name in ("rationale", "answer"))
            answer = final_answer(*parts)
            for code in row["question"]:
                yield code, field(where, row["question"], code, str), answer


def _of_groups(groups: GroupSource, style: Template) -> Iterator[_Example]:
    """The code-switched questions in the groups of recipe `xicl`, with their answers."""
    for number in range(min(len(groups), _LOOKED_THROUGH)):
        group = groups[number]
        if group.recipe == "xicl":
            yield from _switched_turns(group, style)


def _switched_turns(group: ParallelGroup, style: Template) -> Iterator[_Example]:
    """The questions of a group's students that hold a switch: shown ones, and the one asked."""
    head, tail = style.direct.split("{question}")
    for view in group.students:
        for turn in _TURN.finditer(f"{view.prompt}{group.answer}\n\n"):
            text = turn[1]
            question, found, answer = text.removeprefix(head).partition(tail)
            inside = any(turn.start() <= switch.start < turn.end() for switch in view.switches)
            if inside and found and text.startswith(head):
                yield view.language, question, answer
