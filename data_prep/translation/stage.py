"""Filling in the questions that problems lack, by a back end and a cache of what it made."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from data_prep.problems import Problem
from data_prep.translation.cache import Cache
from data_prep.translation.chat_endpoint import ChatEndpoint
from data_prep.translation.model import TrainedModel
from data_prep.translation.precomputed import Precomputed
from data_prep.translation.requests import Backend, Refusal, Request
from data_prep.translation.seq2seq import Seq2Seq
from xcot_jax.errors import InputError
from xcot_jax.languages import language, ordered
from xcot_jax.settings import Settings

BACKENDS: dict[str, Callable[[Settings], Backend]] = {
    "precomputed": Precomputed,
    "openai": ChatEndpoint,
    "seq2seq": Seq2Seq,
    "model": TrainedModel,
}

_WINDOW = 2048
"""Requests looked up and translated together: what is in memory at once."""


class Translations:
    """The translations of one back end: what is cached, and what it makes when asked."""

    def __init__(self, backend: Backend, cache: Cache) -> None:
        """Joins a back end and its cache; `open` makes both from the settings."""
        self._backend = backend
        self._cache = cache

    @classmethod
    def open(cls, settings: Settings, cache: Path, backend: str | None = None) -> Translations:
        """Opens the back end of the settings and its cache.

        Args:
          settings: the run; its `prep.translate.cache` is the caller's to resolve.
          cache: SQLite file, made if it is not there.
          backend: another row of `BACKENDS` than `prep.translate.backend`.

        Raises:
          InputError: for settings that cannot work, or a file that is no such cache.
        """
        name = backend or settings.prep.translate.backend
        if name not in BACKENDS:
            raise InputError(
                f"prep.translate.backend = {name!r} translates nothing; choose one of "
                + ", ".join(BACKENDS)
            )
        chosen = BACKENDS[name](settings)
        return cls(chosen, Cache(cache, chosen.name, chosen.identity))

    @property
    def provenance(self) -> str:
        """Model and licence of the translations, for the data card."""
        return self._backend.provenance

    def check(self, source: str, target: str) -> None:
        """Raises InputError if the back end cannot translate between these languages."""
        self._backend.check(source, target)

    @property
    def identity(self) -> str:
        """What the translations depend on besides the requests: under this the cache has them."""
        return self._backend.identity

    def find(self, request: Request) -> str | None:
        """The translation of a request, if it was made."""
        return self._cache.find(request) if _storable(request.text) else None

    def make(
        self, requests: Iterable[Request], description: str, total: int | None = None
    ) -> Counter[str]:
        """Translates what is not in the cache, and stores each translation as it comes.

        Args:
          requests: read as a stream, a few hundred at a time.
          description: what the progress bar is called.
          total: how many requests there are, for the time left.

        Returns:
          "made", "cached" and "refused: REASON", with how many requests ended so.

        Raises:
          InputError: if the back end fails for good. What it made is stored, and the next call
            goes on from there.
        """
        counts: Counter[str] = Counter()
        stream = iter(requests)
        with (
            self._cache.writing(),
            tqdm(desc=description, total=total, unit=" texts", smoothing=0.1, delay=1) as bar,
        ):
            while window := Counter(itertools.islice(stream, _WINDOW)):
                try:
                    self._translate(window, counts, bar)
                except InputError as error:
                    raise InputError(
                        f"{description}: {error}\n{len(self._cache):,} translations are safe in "
                        f"{self._cache.path}; the same command goes on from there"
                    ) from error
        return +counts  # Without zeros.

    def _translate(self, window: Counter[Request], counts: Counter[str], bar: tqdm) -> None:
        """Sees to the requests of a window, given with how often each occurs."""
        left: Counter[Request] = Counter()
        for request, times in window.items():
            if not _storable(request.text):
                self._refuse(Refusal("not valid Unicode"), times, counts, bar)
            elif self._cache.find(request) is None:
                left[request] = times
            else:
                counts["cached"] += times
                if bar.total is not None:
                    bar.total -= times  # The time left is that of texts to be translated.
        for request, result in self._backend.translate(tuple(left)):
            times = left.pop(request)
            if isinstance(result, str) and not _storable(result):
                result = Refusal("a reply that is not valid Unicode")
            if isinstance(result, Refusal):
                self._refuse(result, times, counts, bar)
            else:
                self._cache.store(request, result)
                counts["made"] += 1
                counts["cached"] += times - 1
            bar.update(times)
        if left:
            raise RuntimeError(f"{self._backend.name} left out {len(left)} of its requests")

    def _refuse(self, refusal: Refusal, times: int, counts: Counter[str], bar: tqdm) -> None:
        key = f"refused: {refusal.reason}"
        if key not in counts:
            detail = f" ({refusal.detail})" if refusal.detail else ""
            bar.write(f"{bar.desc.removesuffix(': ')}: the first {key}{detail}")
        counts[key] += times
        patience = self._backend.patience
        if patience and not counts["made"] and counts.total() - counts["cached"] >= patience:
            # Texts that are always refused must not stop a later run: only a first one stops.
            if len(self._cache):
                return
            reasons = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
            raise InputError(
                f"none of the first texts could be translated ({reasons}); the back end seems to "
                f"be at fault{': ' + refusal.detail if refusal.detail else ''}"
            )

    def close(self) -> None:
        """Closes the cache."""
        self._cache.close()

    def __enter__(self) -> Translations:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def fill(
    problems: Iterable[Problem], settings: Settings, translations: Translations
) -> Counter[str]:
    """Has the questions translated that problems lack, language by language.

    Args:
      problems: iterated once, and once more for each language.
      settings: the run: languages of `prep.languages` are filled in from the teacher's.
      translations: where they are made; `completed` takes them from there.

    Returns:
      "CODE: translated" and "CODE: refused: REASON", with how many questions ended so: the same
      numbers whether or not the translations had been made before.

    Raises:
      InputError: if the back end fails for good; see `Translations.make`.
    """
    results: Counter[str] = Counter()
    teacher = settings.high_resource[0]
    lacking = Counter(
        code
        for problem in problems
        for code, _ in _requests(problem, teacher, settings.prep.languages)
    )
    for code in lacking:  # All of them first, not the last after hours with the others.
        translations.check(teacher, code)
    for code in ordered(lacking):
        total = lacking[code]
        counts = translations.make(_lacking(problems, teacher, code), f"translate {code}", total)
        results[f"{code}: translated"] += counts.pop("made", 0) + counts.pop("cached", 0)
        for outcome, count in sorted(counts.items()):
            results[f"{code}: {outcome}"] += count
    return results


def completed(problem: Problem, settings: Settings, translations: Translations) -> Problem:
    """The problem with the questions it lacks, as far as they were translated."""
    found = dict(problem.question)
    for code, request in _requests(problem, settings.high_resource[0], settings.prep.languages):
        translation = translations.find(request)
        if translation is not None:
            found[code] = translation
    return dataclasses.replace(problem, question=found)


def _lacking(problems: Iterable[Problem], teacher: str, code: str) -> Iterator[Request]:
    """The requests for one language, of the problems that lack it."""
    for problem in problems:
        yield from (request for _, request in _requests(problem, teacher, (code,)))


def _requests(
    problem: Problem, teacher: str, languages: Sequence[str]
) -> Iterator[tuple[str, Request]]:
    """The languages a problem lacks, and what to ask for each."""
    if teacher in problem.question:
        for code in ordered(languages):
            if code not in problem.question:
                yield code, Request(problem.question[teacher], teacher, language(code).code)


def _storable(text: str) -> bool:
    """Whether a text is Unicode: JSON may smuggle in half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
