"""From a source to the problems that are used: read, translated, filtered, and kept on disk.

problems/train.jsonl, validation.jsonl, test.jsonl   what is kept, in every language
problems/dropped.jsonl                               each question left out: rule, evidence, texts
"""

from __future__ import annotations

import array
import dataclasses
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from tqdm import tqdm

from data_prep import sources, store, workers
from data_prep.names import named
from data_prep.problems import Problem, to_line
from data_prep.quality import filters
from data_prep.quality.filters import Drop
from data_prep.store import ProblemStore
from data_prep.translation import stage as translation
from xcot_jax.errors import InputError
from xcot_jax.settings import Settings

PROBLEMS_DIRECTORY = "problems"
DROPPED_FILE = "dropped.jsonl"

_BATCH = 32  # Problems that a worker looks at together.
_WORTH_A_WORKER = 1_000  # Problems below which another process costs more than it brings.


@dataclasses.dataclass(frozen=True)
class Corpus:
    """The problems of a run; no question text is in two splits.

    Attributes:
      splits: split -> its problems; those without any are not there, training always is.
      dropped: reason -> how many problems, or questions of problems, were left out for it.
      card: what the stages did, for the data card.
    """

    splits: Mapping[str, ProblemStore]
    dropped: Counter[str]
    card: Mapping[str, Any]


def prepare(settings: Settings, directory: Path, cache: Path) -> Corpus:
    """Reads, translates and filters the corpus `prep.source` names.

    Args:
      settings: the run.
      directory: gets `problems/`.
      cache: SQLite file of translations; what a killed run has translated is found there.

    Raises:
      InputError: for bad input, a translation service that fails for good, or if no training
        problem is left.
    """
    target = directory / PROBLEMS_DIRECTORY
    target.mkdir()
    dropped: Counter[str] = Counter()
    found = _read(settings, target, dropped)
    card: dict[str, Any] = {"read": {split: len(problems) for split, problems in found.items()}}
    if settings.prep.translate.backend != "none":
        found, card["translation"] = _translated(found, settings, target, cache)
    sieve = _Sieve(settings, found)
    with (target / DROPPED_FILE).open("w", encoding="utf-8") as file:
        tally = _Tally(settings, dropped, file)
        kept = {}
        for split in found:
            stay = _kept(sieve, split, tally)
            if split == "train" and settings.prep.low_resource_limit:
                stay = _limited(stay, settings, dropped)
            kept[split] = store.write(target / f"{split}.jsonl", stay)
    card["quality"] = tally.card(sieve.filter)
    for problems in found.values():
        problems.path.unlink()
    for split in [name for name, problems in kept.items() if not problems]:
        kept.pop(split).path.unlink()
    if "train" not in kept:
        raise InputError(
            f"prep.source = {settings.prep.source!r} gives no training problem; "
            f"left out: {dict(dropped) or 'nothing'}"
        )
    return Corpus(kept, dropped, card)


def _read(settings: Settings, target: Path, dropped: Counter[str]) -> dict[str, ProblemStore]:
    """The source's problems as they are, by split, in the order of `sources.SPLITS`."""
    files: dict[str, TextIO] = {}
    paths = {split: target / f".{split}.read.jsonl" for split in sources.SPLITS}
    try:
        for split, problem in tqdm(
            sources.read(settings, dropped), desc="read", unit=" problems", delay=1
        ):
            if split not in files:
                files[split] = paths[split].open("w", encoding="utf-8")
            files[split].write(to_line(problem))
    finally:
        for file in files.values():
            file.close()
    return {split: ProblemStore(paths[split]) for split in sources.SPLITS if split in files}


def _translated(
    found: Mapping[str, ProblemStore], settings: Settings, target: Path, cache: Path
) -> tuple[dict[str, ProblemStore], dict[str, Any]]:
    """The problems with the questions they lacked, and what became of those."""
    outcomes: Counter[str] = Counter()
    completed = {}
    with translation.Translations.open(settings, cache) as translations:
        for split, problems in found.items():
            outcomes += translation.fill(problems, settings, translations)
            completed[split] = store.write(
                target / f".{split}.translated.jsonl",
                (translation.completed(p, settings, translations) for p in problems),
            )
            problems.path.unlink()
        card = {"provenance": translations.provenance, "questions": dict(outcomes)}
    return completed, card


class _Sieve:
    """Decides which problems stay; workers share it.

    Attributes:
      filter: the quality rules, or None where questions are right by construction.
    """

    def __init__(self, settings: Settings, found: Mapping[str, ProblemStore]) -> None:
        generated = sources.SOURCES[settings.prep.source].generated
        self.filter = None if generated else filters.Filter(settings)
        self.found = found
        self.workers = settings.prep.workers
        # Problems are numbered through, held-out splits first.
        ends = np.cumsum([0, *map(len, found.values())]).tolist()
        self.starts = dict(zip(found, ends, strict=False))
        self._first = _first_asked(found)

    def __call__(self, split: str, number: int) -> Sifted:
        """What becomes of one problem of a split."""
        problem, start = self.found[split][number], self.starts[split]
        repeated = {}
        for code, question in problem.question.items():
            first = self._first.get(_digest(code, question), start + number)
            if first < start:
                return Sifted(None, (), Counter(), held_out=True)
            if first < start + number:
                repeated[code] = first
        if self.filter is None:
            return Sifted(problem, (), Counter())
        kept, drops, checked = self.filter(named(problem), repeated)
        return Sifted(kept, tuple(drops), checked)


@dataclasses.dataclass(frozen=True)
class Sifted:
    """What became of a problem.

    Attributes:
      kept: what is left of it, if anything.
      drops: the questions a rule left out.
      checked: rule -> questions it looked at.
      held_out: whether it went because an earlier split asks one of its questions.
    """

    kept: Problem | None
    drops: tuple[Drop, ...]
    checked: Counter[str]
    held_out: bool = False


def _sift(sieve: _Sieve, batch: tuple[str, Sequence[int]]) -> list[Sifted]:
    split, numbers = batch
    return [sieve(split, number) for number in numbers]


def _kept(sieve: _Sieve, split: str, tally: _Tally) -> Iterator[Problem]:
    """The problems of a split that stay."""
    total = len(sieve.found[split])
    count = workers.count(sieve.workers, total, _WORTH_A_WORKER)
    batches = ((split, batch) for batch in workers.batches(range(total), _BATCH))
    with tqdm(total=total, desc=f"filter {split}", unit=" problems", delay=1) as bar:
        for results in workers.ordered_map(_sift, sieve, batches, min(count, -(-total // _BATCH))):
            for sifted in results:
                tally.add(sifted, split)
                if sifted.kept is not None:
                    yield sifted.kept
            bar.update(len(results))


def _limited(
    problems: Iterable[Problem], settings: Settings, dropped: Counter[str]
) -> Iterator[Problem]:
    """The problems with no more low-resource questions, language by language, than the limit."""
    limit, asked = settings.prep.low_resource_limit, Counter[str]()
    for problem in problems:
        questions = {}
        for code, question in problem.question.items():
            asked[code] += 1
            if code in settings.high_resource or asked[code] <= limit:
                questions[code] = question
            else:
                dropped[f"question: beyond prep.low_resource_limit in {code}"] += 1
        yield dataclasses.replace(problem, question=questions)


class _Tally:
    """Counts what is left out, and writes down why."""

    def __init__(self, settings: Settings, dropped: Counter[str], file: TextIO) -> None:
        self._quality = settings.prep.quality
        self._dropped = dropped
        self._file = file
        self._checked: Counter[str] = Counter()
        self._by_rule: dict[str, Counter[str]] = defaultdict(Counter)
        self._examples: dict[str, list[dict[str, str]]] = defaultdict(list)

    def add(self, sifted: Sifted, split: str) -> None:
        """Counts one problem of a split."""
        if sifted.held_out:
            self._dropped[f"problem: {split} question also held out"] += 1
        self._checked.update(sifted.checked)
        for drop in sifted.drops:
            where = f"question: {drop.rule} in {drop.language}"
            self._dropped[where if drop.language else f"problem: {drop.rule}"] += 1
            self._by_rule[drop.rule][drop.language or "problem"] += 1
            row = dataclasses.asdict(drop)
            self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
            if len(self._examples[drop.rule]) < self._quality.examples:
                self._examples[drop.rule].append(row)

    def card(self, sieve: filters.Filter | None) -> dict[str, Any]:
        """What each rule looked at and dropped, with examples; nothing without a filter."""
        if sieve is None:
            return {}
        rules = {
            rule: {
                "meaning": filters.RULES[rule].meaning,
                "checked": self._checked[rule],
                "dropped": dict(sorted(self._by_rule[rule].items())),
                "examples": self._examples[rule],
            }
            for rule in self._quality.rules
        }
        return {"rules": rules, "notes": list(sieve.notes)}


def _first_asked(found: Mapping[str, ProblemStore]) -> dict[int, int]:
    """The questions that several problems ask: digest -> number of the first of them.

    Takes 8 bytes a question while it looks, so that all of a large corpus can be compared.
    """
    digests, counts = array.array("Q"), array.array("H")
    for problems in found.values():
        for problem in problems:
            digests.extend(_digest(code, text) for code, text in problem.question.items())
            counts.append(len(problem.question))
    values, firsts, times = np.unique(
        np.asarray(digests, np.uint64), return_index=True, return_counts=True
    )
    owners = np.searchsorted(np.cumsum(counts), firsts[times > 1], side="right")
    return dict(zip(values[times > 1].tolist(), owners.tolist(), strict=True))


def _digest(code: str, question: str) -> int:
    text = f"{code}\0{sources.rendered(question)}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
