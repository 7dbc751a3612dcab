"""The data card: what a dataset is made of, counted while it is written."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any, Protocol

from data_prep.groups import Made
from data_prep.lexicon import Lexicon
from xcot_jax.data.records import View

SAMPLE = 200  # Views of each language and recipe whose tokens are counted.


class Encoder(Protocol):
    """What is needed of a tokenizer."""

    def encode(self, text: str) -> list[int]:
        """The ids of a text."""


class Tally:
    """Counts of groups as they pass by.

    Attributes:
      dropped: reason -> how many problems, questions or groups were left out for it.
    """

    def __init__(self, dropped: Mapping[str, int], tokenizer: Encoder | None = None) -> None:
        self.dropped = Counter(dropped)
        self._tokenizer = tokenizer
        self._groups: Counter[str] = Counter()
        self._views: Counter[tuple[str, str, str]] = Counter()
        self._teachers: Counter[tuple[str, str]] = Counter()
        self._covered: Counter[str] = Counter()
        self._switched: Counter[str] = Counter()
        self._lengths: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)

    def add(self, made: Made, split: str) -> None:
        """Counts one group of a split."""
        group = made.group
        self._groups[split] += 1
        if group.teacher:
            self._teachers[split, group.teacher.language] += 1
        for view, covered in zip(group.students, made.covered, strict=True):
            self._views[split, group.recipe, view.language] += 1
            self._covered[view.language] += covered
            self._switched[view.language] += len(view.switches)
            self._measure(view, group.recipe, group.answer)

    def _measure(self, view: View, recipe: str, answer: str) -> None:
        lengths = self._lengths[view.language, recipe]
        if self._tokenizer is None or len(lengths) == SAMPLE:
            return
        response = len(self._tokenizer.encode(view.preamble + answer)) + 1
        lengths.append((len(self._tokenizer.encode(view.prompt)), response))

    def card(self) -> dict[str, Any]:
        """The counts, as they stand in `data_card.json`."""
        views: dict[str, dict[str, dict[str, int]]] = {}
        for (split, recipe, language), count in sorted(self._views.items()):
            views.setdefault(split, {}).setdefault(recipe, {})[language] = count
        teachers: dict[str, dict[str, int]] = {}
        for (split, language), count in sorted(self._teachers.items()):
            teachers.setdefault(split, {})[language] = count
        tokens: dict[str, dict[str, dict[str, float]]] = {}
        for (language, recipe), lengths in sorted(self._lengths.items()):
            if lengths:
                prompts, responses = zip(*lengths, strict=True)
                tokens.setdefault(language, {})[recipe] = {
                    "views_measured": len(lengths),
                    "prompt_mean": round(sum(prompts) / len(prompts), 1),
                    "response_mean": round(sum(responses) / len(responses), 1),
                    "longest": max(map(sum, lengths)),
                }
        return {
            "groups": dict(self._groups),
            "student_views": views,
            "teacher_views": teachers,
            "dropped": dict(sorted(self.dropped.items())),
            "code_switching": {
                **_rate(self._covered.total(), self._switched.total()),
                "by_language": {
                    language: _rate(covered, self._switched[language])
                    for language, covered in sorted(self._covered.items())
                    if covered
                },
            },
            "tokens": tokens,
        }


def _rate(covered: int, switched: int) -> dict[str, float]:
    return {
        "fragments_covered": covered,
        "fragments_switched": switched,
        "realised_rate": round(switched / covered, 4) if covered else 0.0,
    }


def describe_lexicon(lexicon: Lexicon) -> dict[str, Any]:
    """The lexicon's part of the card."""
    return {
        "provenance": lexicon.provenance,
        "sha256": lexicon.digest,
        "phrases": lexicon.sizes(),
        "left_out": dict(lexicon.left_out),
    }


def table(card: Mapping[str, Any]) -> str:
    """A card as a short table: views by language and recipe, drops, realised switch rate."""
    views: Mapping[str, Mapping[str, Mapping[str, int]]] = card["student_views"]
    recipes = sorted({recipe for split in views.values() for recipe in split})
    languages = sorted({c for split in views.values() for row in split.values() for c in row})
    lines = []
    for split, rows in views.items():
        lines.append(f"{split + ' views':<18}" + "".join(f"{recipe:>12}" for recipe in recipes))
        for code in languages:
            counts = [rows.get(recipe, {}).get(code, 0) for recipe in recipes]
            lines.append(f"  {code:<16}" + "".join(f"{count:>12,}" for count in counts))
        teachers = card["teacher_views"].get(split, {})
        spoken = ", ".join(f"{count:,} in {code}" for code, count in teachers.items()) or "none"
        lines.append(f"  teachers: {spoken}; groups: {card['groups'][split]:,}")
    switching = card["code_switching"]
    if switching["fragments_covered"]:
        lines.append(
            f"code-switched: {switching['fragments_switched']:,} of "
            f"{switching['fragments_covered']:,} covered fragments "
            f"({switching['realised_rate']:.1%})"
        )
    lines.append("left out:" + ("" if card["dropped"] else " nothing"))
    lines += [f"  {count:>8,}  {reason}" for reason, count in card["dropped"].items()]
    return "\n".join(lines)
