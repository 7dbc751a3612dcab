"""Conversations with a model about many questions at once, in lock-step rounds.

Each round is one call of the model, whatever languages are asked, so that its batches stay full.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Sequence

from xcot_jax.evaluation.requests import Generate, Generation, Request


@dataclasses.dataclass(frozen=True)
class Reply:
    """What the answer to a question is read from.

    Attributes:
      candidates: the response, without what is said before the answer; several are voted on.
      translation: the question in another language, as the model said it ("" if it did not); None
        if it was not asked to.
      translation_language: code of the language it was to say it in.
    """

    candidates: tuple[Generation, ...]
    translation: str | None = None
    translation_language: str | None = None


@dataclasses.dataclass(frozen=True)
class Turn:
    """One request of a conversation, with what was generated for it."""

    request: Request
    generation: Generation


Conversation = Generator[Sequence[Request], Sequence[Generation], Reply]


def converse(
    conversations: Sequence[Conversation], generate: Generate
) -> list[tuple[Reply, tuple[Turn, ...]]]:
    """Holds all conversations, with one call of `generate` a round.

    A request that several conversations make is generated once: equal ones have equal answers.

    Returns:
      of each conversation its reply, and its turns in order.

    Raises:
      ValueError: if `generate` does not return one generation a request.
    """
    turns: list[list[Turn]] = [[] for _ in conversations]
    replies: dict[int, Reply] = {}
    rounds = {index: list(next(talk)) for index, talk in enumerate(conversations)}
    while rounds:
        requests = list(dict.fromkeys(r for asked in rounds.values() for r in asked))
        said = generate(requests)
        if len(said) != len(requests):
            raise ValueError(f"{len(requests)} prompts were given, {len(said)} generations came")
        generations = dict(zip(requests, said, strict=True))
        following = {}
        for index, asked in rounds.items():
            given = [generations[request] for request in asked]
            turns[index] += map(Turn, asked, given)
            try:
                following[index] = list(conversations[index].send(given))
            except StopIteration as end:
                replies[index] = end.value
        rounds = following
    return [(replies[index], tuple(turns[index])) for index in range(len(conversations))]
