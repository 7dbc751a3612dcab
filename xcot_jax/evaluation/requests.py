"""What evaluation asks of a model, and what comes back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence


@dataclasses.dataclass(frozen=True)
class Request:
    """One text to be continued.

    Attributes:
      prompt: the text, as the tokenizer's `prompt_ids` takes it.
      temperature: of the sampling; 0: the most likely token each time.
      top_p: tokens are drawn from the fewest that hold this share of the probability.
      seed: of the draws; the same request gives the same text whatever is asked beside it.
      stop: the text ends before the first of these strings, if one appears.
    """

    prompt: str
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Generation:
    """What the model said to a request.

    Attributes:
      text: the decoded response, without the end-of-text token.
      truncated: whether it was cut off before the model ended it or said a stop string.
      tokens: tokens generated.
    """

    text: str
    truncated: bool
    tokens: int


Generate = Callable[[Sequence[Request]], Sequence[Generation]]
"""Answers requests, in their order."""
