"""What a chat model replies, cut to the translation in it."""

from __future__ import annotations

import re
from typing import Any

from data_prep.translation.requests import Refusal

_THOUGHTS = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
_FENCE = re.compile(r"\A```[^\n`]*\n(.*?)\n?```\Z", re.DOTALL)
_QUOTES = ('""', "''", "``", "“”", "‘’", "„“", "„”", "«»", "»«", "「」", "『』")


class NoCompletion(Exception):
    """A reply that is not what the protocol says, such as an error page with status 200."""


def translation(completion: Any, source: str) -> str | Refusal:
    """The translation in a reply, or why there is none.

    Args:
      completion: what the `openai` package made of the reply.
      source: the text that was to be translated.

    Raises:
      NoCompletion: if it is no chat completion.
    """
    try:
        choice = completion.choices[0]
        content, finish = choice.message.content, choice.finish_reason
    except (AttributeError, IndexError, TypeError) as error:
        raise NoCompletion(str(completion)) from error
    if finish == "length":
        return Refusal("reply cut off", "see prep.translate.openai.max_tokens")
    if finish == "content_filter":
        return Refusal("withheld by the endpoint's content filter")
    if content is not None and not isinstance(content, str):
        raise NoCompletion(str(completion))
    return cleaned(content or "", source) or Refusal("empty reply")


def cleaned(reply: str, source: str) -> str:
    """A reply without the wrapping that chat models put around a text.

    That is: thoughts before it, a code fence, and quotation marks around the whole, unless the
    source stands in such marks itself.

    >>> cleaned('```text\\n"Wie viele?"\\n```', "How many?")
    'Wie viele?'
    """
    text = _THOUGHTS.sub("", reply).strip()
    fence = _FENCE.match(text)
    if fence and "```" not in fence.group(1):
        text = fence.group(1).strip()
    if not _quoted(source.strip()):
        while _quoted(text):
            text = text[1:-1].strip()
    return text


def _quoted(text: str) -> bool:
    """Whether one pair of quotation marks encloses all of it: not two pairs, as in "a" and "b"."""
    if len(text) < 2 or text[0] + text[-1] not in _QUOTES:
        return False
    inside = text[1:-1]
    return text[0] not in inside and text[-1] not in inside
