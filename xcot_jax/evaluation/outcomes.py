"""What was said to a question and what was made of it: one line of a generations file."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from typing import Any

from xcot_jax.evaluation.benchmarks import Question
from xcot_jax.evaluation.conversations import Reply, Turn
from xcot_jax.evaluation.extraction import Extracted, flexible, plain, same_number, strict
from xcot_jax.evaluation.modes import Mode
from xcot_jax.evaluation.requests import Generation
from xcot_jax.evaluation.voting import majority


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One question, everything that was said to it, and the answer.

    Attributes:
      question: what was asked.
      mode: name of the mode it was asked in.
      turns: everything that was generated for it, in order.
      reply: what the answer was read from.
      read: the response it is shown by: the only one, or the first that said what won the vote.
      extracted: the answer, by the flexible reading; with votes, that of `read`.
      strict: the answer by marked numbers only; with votes, their majority.
      votes: the answer of every response, if they were voted on.
    """

    question: Question
    mode: str
    turns: tuple[Turn, ...]
    reply: Reply
    read: Generation
    extracted: Extracted | None
    strict: Decimal | None
    votes: tuple[Decimal | None, ...] | None

    @property
    def correct(self) -> bool:
        """Whether the extracted number is the gold one."""
        value = self.extracted.value if self.extracted else None
        return same_number(value, Decimal(self.question.answer))

    @property
    def strict_correct(self) -> bool:
        """Whether the marked number is the gold one."""
        return same_number(self.strict, Decimal(self.question.answer))

    def to_json(self) -> dict[str, Any]:
        """One line of the generations file."""
        extracted = self.extracted
        return {
            "id": self.question.id,
            "language": self.question.language,
            "question": self.question.question,
            "mode": self.mode,
            "prompt": self.turns[0].request.prompt,
            "turns": [
                {
                    "prompt": turn.request.prompt,
                    "text": turn.generation.text,
                    "truncated": turn.generation.truncated,
                    "tokens": turn.generation.tokens,
                    "seed": turn.request.seed,
                }
                for turn in self.turns
            ],
            "text": self.read.text,
            "extracted": plain(extracted.value) if extracted else None,
            "rule": extracted.rule if extracted else None,
            "span": list(extracted.span) if extracted else None,
            "strict": _shown(self.strict),
            "gold": self.question.answer,
            "correct": self.correct,
            "strict_correct": self.strict_correct,
            "truncated": self.read.truncated,
            "translation": self.reply.translation,
            "translation_language": self.reply.translation_language,
            "votes": None if self.votes is None else [_shown(vote) for vote in self.votes],
        }


def outcome(
    question: Question, name: str, mode: Mode, reply: Reply, turns: tuple[Turn, ...]
) -> Outcome:
    """Reads the answer from a reply, by majority where the mode votes."""
    read = [flexible(said.text) for said in reply.candidates]
    marked = [strict(said.text) for said in reply.candidates]
    votes = tuple(found.value if found else None for found in read)
    winner = majority(votes)
    first = next(i for i, vote in enumerate(votes) if winner is None or vote == winner)
    return Outcome(
        question=question,
        mode=name,
        turns=turns,
        reply=reply,
        read=reply.candidates[first],
        extracted=read[first],
        strict=majority([found.value if found else None for found in marked]),
        votes=votes if mode.votes else None,
    )


def _shown(value: Decimal | None) -> str | None:
    return None if value is None else plain(value)
