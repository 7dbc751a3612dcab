"""The embedded corpus: short arithmetic stories, parallel in the eleven languages of MGSM.

A story is a template with its slots filled by a noun, a verb of gaining, a verb of parting with,
a container, one or two people and numbers; `data_prep.stories` holds the templates and the words
of each language. The corpus is a controlled benchmark. Low-resource training never shows a share
of the nouns and verbs, the *withheld* ones; held-out problems have no other nouns and verbs, and
do not depend on the seed, so that all seeds are judged by the same ones.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Collection, Iterator, Sequence

from data_prep import stories
from data_prep.problems import Problem
from data_prep.stories.plans import PLANS
from data_prep.stories.rendering import Story, render, slots, with_noun
from data_prep.stories.tables import CONTAINERS, GET, LOSE, NOUNS, PEOPLE, Table

_HELD_OUT_SEED = {"test": 20240, "validation": 20241}
# Draws without a new story, beyond ten a story, after which the words are taken as exhausted.
_MAX_MISSES = 10_000


@dataclasses.dataclass(frozen=True)
class StorySplits:
    """The corpus by split; no English question is in two of them."""

    train: list[Problem]
    validation: list[Problem]
    test: list[Problem]


@dataclasses.dataclass(frozen=True)
class _Vocabulary:
    nouns: tuple[str, ...]
    get: tuple[str, ...]
    lose: tuple[str, ...]


_ALL = _Vocabulary(NOUNS, GET, LOSE)


def withheld_words(withheld: float = 0.5) -> frozenset[str]:
    """English nouns and verbs low-resource training never shows: the last share of each list."""
    return frozenset(
        word for kind in (NOUNS, GET, LOSE) for word in kind[len(kind) - _share(kind, withheld) :]
    )


def _share(kind: Sequence[str], withheld: float) -> int:
    if not 0 <= withheld <= 1:
        raise ValueError(f"withheld = {withheld} is not a share; give a number from 0 to 1")
    return round(withheld * len(kind))


def _restricted(words: Collection[str]) -> _Vocabulary:
    """The vocabulary of these words only."""
    nouns, get, lose = (tuple(w for w in kind if w in words) for kind in (NOUNS, GET, LOSE))
    return _Vocabulary(nouns, get, lose)


def generate(
    *,
    seed: int,
    languages: Sequence[str],
    high_resource: Sequence[str],
    high_count: int,
    low_count: int,
    heldout_count: int,
    withheld: float = 0.5,
) -> StorySplits:
    """Generates the corpus; the same arguments give the same problems in any process.

    Args:
      seed: of the training split; validation and test are the same for all seeds.
      languages: languages to write problems in.
      high_resource: those that count as high-resource; the other `languages` are low-resource.
      high_count: training problems, asked in the high-resource languages.
      low_count: how many of them, the first ones, are asked in the low-resource languages too.
        They are drawn without the withheld words.
      heldout_count: problems in validation, and in test, each asked in all `languages`.
      withheld: share of the nouns and verbs that low-resource training never shows. Held-out
        problems have no other ones (all, at 0).

    Raises:
      ValueError: for an unknown language, impossible counts, or more problems than there are words
        and numbers for.
    """
    if not 0 <= low_count <= high_count or heldout_count < 0:
        raise ValueError(
            f"low_count = {low_count}, high_count = {high_count}, heldout_count = {heldout_count}: "
            "counts start at 0, and low_count may not exceed high_count"
        )
    tables = tuple(stories.table(code) for code in dict.fromkeys(languages))
    high = tuple(table for table in tables if table.code in high_resource)
    heldout = _heldout(heldout_count, withheld)
    avoid = {story.kernel for split in heldout.values() for story in split}
    rng = random.Random(seed)
    seen = _restricted(frozenset((*NOUNS, *GET, *LOSE)) - withheld_words(withheld))
    both = _distinct(rng, seen, low_count, avoid, by_kernel=False)
    others = _distinct(rng, _ALL, high_count - low_count, avoid, by_kernel=False, used=both)
    train = [_problem(f"train-{i}", story, tables) for i, story in enumerate(both)]
    if high:
        train += [_problem(f"train-{i}", s, high) for i, s in enumerate(others, low_count)]
    validation, test = (
        [_problem(f"{split}-{i}", story, tables) for i, story in enumerate(heldout[split])]
        for split in ("validation", "test")
    )
    return StorySplits(train, validation, test)


def _heldout(count: int, withheld: float) -> dict[str, list[Story]]:
    words = withheld_words(withheld)
    vocabulary = _Vocabulary(
        *(tuple(w for w in kind if w in words) or kind for kind in (NOUNS, GET, LOSE))
    )
    splits: dict[str, list[Story]] = {}
    avoid: set[tuple[str | int, ...]] = set()
    for split in ("test", "validation"):
        rng = random.Random(_HELD_OUT_SEED[split])
        splits[split] = _distinct(rng, vocabulary, count, avoid, by_kernel=True)
        avoid.update(story.kernel for story in splits[split])
    return splits


def _distinct(
    rng: random.Random,
    vocabulary: _Vocabulary,
    count: int,
    avoid: Collection[tuple[str | int, ...]],
    *,
    by_kernel: bool,
    used: Sequence[Story] = (),
) -> list[Story]:
    """Draws stories that differ (in their kernels, or else in anything), all templates in turn."""
    if count and not all(dataclasses.astuple(vocabulary)):
        raise ValueError(f"no words are left for {count} problems; change the share withheld")
    found: dict[object, Story] = {}
    taken = {story.kernel if by_kernel else story for story in used}
    misses = 0
    for template in _in_turn(rng):
        if len(found) == count:
            return list(found.values())
        story = _draw(rng, template, vocabulary)
        key = story.kernel if by_kernel else story
        if key in found or key in taken or story.kernel in avoid:
            misses += 1
            if misses > _MAX_MISSES + 10 * count:
                raise ValueError(f"only {len(found)} different problems found, not {count}")
            continue
        found[key] = story
    raise AssertionError("templates never run out")


def _in_turn(rng: random.Random) -> Iterator[str]:
    """Template ids without end, all of them, shuffled, then all of them again."""
    while True:
        yield from rng.sample(sorted(PLANS), len(PLANS))


def _draw(rng: random.Random, template: str, vocabulary: _Vocabulary) -> Story:
    plan, used = PLANS[template], slots("en", template)
    name, other = rng.sample(tuple(PEOPLE), 2)
    noun, get, lose = (rng.choice(kind) for kind in dataclasses.astuple(vocabulary))
    container = rng.choice(CONTAINERS)
    numbers = tuple(rng.randint(*limits) for limits in plan.ranges)
    while plan.solve(numbers) is None:
        numbers = tuple(rng.randint(*limits) for limits in plan.ranges)
    return Story(
        template=template,
        noun=noun,
        get=get if "get" in used else "",
        lose=lose if "lose" in used else "",
        container=container if "container" in used else "",
        name=name,
        other=other if "other" in used else "",
        numbers=numbers,
    )


def _problem(number: str, story: Story, tables: Sequence[Table]) -> Problem:
    people = [name for name in (story.name, story.other) if name]
    names = [form for t in tables for name in people for form in t.people[name].forms.values()]
    rationale, answer = _solution(story)
    return Problem(
        id=f"story-{number}",
        question={table.code: render(story, table) for table in tables},
        rationale=rationale,
        answer=answer,
        names=tuple(dict.fromkeys((*people, *names))),
    )


def _solution(story: Story) -> tuple[str, str]:
    """The rationale, one sentence a step, the thing first and never a person; and the answer."""
    lines = PLANS[story.template].solve(story.numbers)
    assert lines is not None, story
    sentences = [
        f"{'Then' if index else 'So'} {story.noun} {left} {operation} {right} = {result}."
        for index, (left, operation, right, result) in enumerate(lines)
    ]
    return " ".join(sentences), str(lines[-1][-1])


def lexicon(
    language: str, *, seen_only: bool = False, withheld: float = 0.5
) -> list[tuple[str, str]]:
    """Pairs of an English phrase, lower case, and its counterpart in a language, as they surface.

    A phrase may have several counterparts; the most common one comes first. Names and numbers are
    never part of it. English has no entries.

    Args:
      language: code of the other language.
      seen_only: leave out the words withheld from low-resource training.
      withheld: their share, as for `generate`.

    Raises:
      ValueError: for a language without story problems.
    """
    table = stories.table(language)
    if language == "en":
        return []
    without = withheld_words(withheld) if seen_only else frozenset()
    pairs: list[tuple[str, str]] = []
    for english, noun in table.nouns.items():
        if english not in without:
            pairs += [(english, noun[form]) for form in table.noun_forms]
            for phrase, pattern in table.noun_phrases.items():
                pairs.append((phrase.format(noun=english), with_noun(pattern, noun)))
    for verbs in (table.get, table.lose):
        for english, verb in verbs.items():
            if english not in without:
                pairs += [(english, form) for form in verb.forms.values()]
    for english, container in table.containers.items():
        pairs += [(english, container[form]) for form in table.noun_forms]
        each = stories.table("en").containers[english]["each"]
        pairs.append((each, container["each"]))
    for phrase, found in table.phrases.items():
        pairs += [(phrase, text) for text in ((found,) if isinstance(found, str) else found)]
    return list(dict.fromkeys(pairs))
