"""The data card: what a dataset is made of, counted while it is written."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from data_prep.code_switch import Coverage
from data_prep.groups import Made
from data_prep.lexicons.lexicon import Lexicon
from xcot_jax.data.records import ParallelGroup, View
from xcot_jax.data.tokenizer import Tokenizer


class Tally:
    """Counts of groups; those of several workers add up to the same, in any order.

    Attributes:
      dropped: reason -> how many problems, questions or groups were left out for it.
      groups: split -> groups.
    """

    def __init__(self) -> None:
        self.dropped: Counter[str] = Counter()
        self.groups: Counter[str] = Counter()
        self._views: Counter[tuple[str, str, str]] = Counter()
        self._teachers: Counter[tuple[str, str]] = Counter()
        self._switches: Counter[str] = Counter()
        self._coverage: dict[str, Coverage] = {}

    def add(self, made: Made, split: str) -> None:
        """Counts one group of a split."""
        group = made.group
        self.groups[split] += 1
        if group.teacher:
            self._teachers[split, group.teacher.language] += 1
        for view in group.students:
            self._views[split, group.recipe, view.language] += 1
        for view, coverage in zip(group.students, made.coverage, strict=False):
            self._switches[view.language] += len(view.switches)
            self._cover(view.language, coverage)

    def update(self, other: Tally) -> None:
        """Adds the counts of another tally."""
        for own, more in (
            (self.dropped, other.dropped),
            (self.groups, other.groups),
            (self._switches, other._switches),
        ):
            own.update(more)
        self._views.update(other._views)
        self._teachers.update(other._teachers)
        for language, coverage in other._coverage.items():
            self._cover(language, coverage)

    def _cover(self, language: str, coverage: Coverage) -> None:
        self._coverage[language] = self._coverage.get(language, Coverage()) + coverage

    def card(self) -> dict[str, Any]:
        """The counts, as they stand in `data_card.json`."""
        views: dict[str, dict[str, dict[str, int]]] = {}
        for (split, recipe, language), count in sorted(self._views.items()):
            views.setdefault(split, {}).setdefault(recipe, {})[language] = count
        teachers: dict[str, dict[str, int]] = {}
        for (split, language), count in sorted(self._teachers.items()):
            teachers.setdefault(split, {})[language] = count
        return {
            "groups": dict(sorted(self.groups.items())),
            "student_views": views,
            "teacher_views": teachers,
            "dropped": dict(sorted(self.dropped.items())),
            "code_switching": {
                **_rates(sum(self._coverage.values(), Coverage()), self._switches.total()),
                "by_language": {
                    language: _rates(coverage, self._switches[language])
                    for language, coverage in sorted(self._coverage.items())
                },
            },
        }


def _rates(coverage: Coverage, switched: int) -> dict[str, float]:
    """What the lexicon reached and what was switched, in fragments and in words."""
    return {
        "fragments_covered": coverage.fragments,
        "fragments_switched": switched,
        "realised_rate": _share(switched, coverage.fragments),
        "words": coverage.words,
        "words_covered": coverage.covered_words,
        "words_switched": coverage.switched_words,
        "lexicon_coverage": _share(coverage.covered_words, coverage.words),
        "realised_word_share": _share(coverage.switched_words, coverage.words),
    }


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0


def describe_lexicon(lexicon: Lexicon) -> dict[str, Any]:
    """The lexicon's part of the card."""
    return {
        "provenance": lexicon.provenance,
        "sha256": lexicon.digest,
        "phrases": lexicon.sizes(),
        "left_out": dict(lexicon.left_out),
    }


def token_statistics(
    groups: Iterable[ParallelGroup], tokenizer: Tokenizer | None
) -> dict[str, dict[str, dict[str, float]]]:
    """Tokens of views by language and recipe; nothing without a tokenizer that counts them."""
    if tokenizer is None:
        return {}
    lengths: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for group in groups:
        answer = len(tokenizer.encode(group.answer)) + 1
        for view in group.students:
            lengths[view.language, group.recipe].append(_tokens(view, answer, tokenizer))
    tokens: dict[str, dict[str, dict[str, float]]] = {}
    for (language, recipe), found in sorted(lengths.items()):
        prompts, responses = np.array(found).T
        tokens.setdefault(language, {})[recipe] = {
            "views_measured": len(found),
            "prompt_mean": round(float(prompts.mean()), 1),
            "response_mean": round(float(responses.mean()), 1),
            "median": int(np.median(prompts + responses)),
            "longest": int((prompts + responses).max()),
        }
    return tokens


def _tokens(view: View, answer: int, tokenizer: Tokenizer) -> tuple[int, int]:
    """Tokens of a view's prompt, and of its response with the end token."""
    preamble = len(tokenizer.encode(view.preamble)) if view.preamble else 0
    return len(tokenizer.encode(view.prompt)), preamble + answer


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
            f"({switching['realised_rate']:.1%}), {switching['realised_word_share']:.1%} of words"
        )
    lines.append("left out:" + ("" if card["dropped"] else " nothing"))
    lines += [f"  {count:>8,}  {reason}" for reason, count in card["dropped"].items()]
    return "\n".join(lines)
