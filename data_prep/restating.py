"""Random-CoT's restated questions by a model: drawn first, translated together, then looked up.

The paper's online variant: the model that is trained restates the questions itself, so that
preparation with its newest checkpoint and training can alternate.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path

from tqdm import tqdm

from data_prep.groups import make_group, plan
from data_prep.making import Work
from data_prep.quality.filters import contradiction
from data_prep.random_cot import NotRestatedError
from data_prep.translation.cache import Cache
from data_prep.translation.requests import Request
from data_prep.translation.stage import Translations
from xcot_jax.settings import QualitySettings, Settings

BACKEND = "model"


def restater(settings: Settings, works: dict[str, Work], cache: Path) -> dict[str, Work]:
    """The same work with questions restated as `prep.random_cot.translations` says.

    Where that is by a model, it makes them all before this returns, into the cache.

    Raises:
      InputError: if the model's run cannot be loaded.
    """
    prep = settings.prep
    if prep.random_cot.translations == "parallel" or not prep.mixture.random_cot:
        return works
    with Translations.open(settings, cache, BACKEND) as translations:
        for split, work in works.items():
            translations.make(_drawn(work), f"restate {split}")
        # By what it is now: the run may be training on, and save a newer checkpoint.
        restate = _Lookup(cache, translations.identity, prep.quality)
    return {
        split: dataclasses.replace(work, context=dataclasses.replace(work.context, restate=restate))
        for split, work in works.items()
    }


def _drawn(work: Work) -> Iterator[Request]:
    """What the groups of a split will ask to be restated: they are made once to see it."""
    asked: list[Request] = []

    def record(question: Mapping[str, str], asked_in: str, into: str) -> str:
        asked.append(Request(question[asked_in], asked_in, into))
        return ""

    context = dataclasses.replace(work.context, restate=record)
    for problem in tqdm(work.problems, desc=f"draw {work.split}", unit=" problems", delay=1):
        planned = plan(problem, context)
        for number in range(len(planned)):
            make_group(planned[number], context)
        yield from asked
        asked.clear()


@dataclasses.dataclass(frozen=True)
class _Lookup:
    """Finds restated questions in the cache; may be sent to other processes."""

    cache: Path
    identity: str
    quality: QualitySettings

    def __call__(self, question: Mapping[str, str], asked_in: str, into: str) -> str:
        text = question[asked_in]
        found = _opened(self.cache, self.identity).find(Request(text, asked_in, into))
        if found is None:
            raise NotRestatedError(f"the model did not restate it in {into}")
        wrong = contradiction(found, into, text, asked_in, self.quality)
        if wrong is not None:
            raise NotRestatedError(f"the model's restatement in {into} fails {wrong[0]}")
        return found


@functools.lru_cache(maxsize=1)
def _opened(cache: Path, identity: str) -> Cache:
    return Cache(cache, BACKEND, identity)
