"""What is asked of a translation back end, and what it may answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Protocol


@dataclasses.dataclass(frozen=True)
class Request:
    """A text to be translated.

    Attributes:
      text: what it says.
      source: code of the language it is in.
      target: code of the language it shall be in.
    """

    text: str
    source: str
    target: str


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Why a text has no translation and will have none if it is asked for again.

    Attributes:
      reason: a few words, the same for all texts of one kind: refusals are counted by it.
      detail: what else is known of this one; the first of each reason is shown.
    """

    reason: str
    detail: str = ""


class Backend(Protocol):
    """Who translates.

    Attributes:
      name: its row in `data_prep.translation.stage.BACKENDS`.
      identity: everything a translation depends on besides the request, such as model, prompt and
        search, as a text. Where it runs and how fast is no part of it.
      provenance: model and licence, in words for the data card.
      patience: how many refusals in a row, before anything was ever translated, mean that the back
        end is at fault rather than the texts; 0: any number may be refused.
    """

    @property
    def name(self) -> str:
        """Its row in the table of back ends."""

    @property
    def identity(self) -> str:
        """What a translation depends on besides the request."""

    @property
    def provenance(self) -> str:
        """Model and licence."""

    @property
    def patience(self) -> int:
        """First refusals in a row that are too many."""

    def check(self, source: str, target: str) -> None:
        """Whether it can translate between these languages at all.

        Raises:
          InputError: if it cannot.
        """

    def translate(self, requests: Sequence[Request]) -> Iterator[tuple[Request, str | Refusal]]:
        """Translates, each request once, and yields results as they come, in any order.

        Requests are distinct, and a few hundred at a time. What passes, such as a busy server, is
        waited for inside.

        Raises:
          InputError: for what does not pass; what was yielded before is kept.
        """
