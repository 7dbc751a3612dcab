"""A chat model's template as ids: what stands before and after a user's text, and what ends a turn.

A template is a program; `chat_format` runs it a few times, holds it to the form prefix + text +
suffix, and keeps the outcome, which does not depend on the day and can be pickled.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from xcot_jax.errors import InputError

CHAT_TEMPLATE = "chat_template.jinja"  # in a directory

# What templates are told besides the messages. A chain of thought is the answer itself here, so
# there is no other thinking; and the date is the one that Llama 3 falls back to.
RENDERING: Mapping[str, Any] = {"enable_thinking": False, "date_string": "26 Jul 2024"}
_DATE = {
    "%d": "26",
    "%b": "Jul",
    "%B": "July",
    "%m": "07",
    "%Y": "2024",
    "%y": "24",
    "%a": "Fri",
    "%A": "Friday",
    "%H": "00",
    "%M": "00",
    "%S": "00",
}
# In front of a template this hides the function that tells today's date. The line break goes.
_FIXED_DATE = (
    "{%- macro strftime_now(format) -%}{{ format"
    + "".join(f".replace('{directive}', '{value}')" for directive, value in _DATE.items())
    + " }}{%- endmacro %}\n"
)
_OWN = re.compile(r"\{#- prep\.template=(\w+) -#\}")
_SENTINEL = "Sentinel7"
_SAMPLES = ("What is 2 + 3?", " \u6771\u4eac %s {{ a }}\n\n  </b>\t1,234.\n")


def pinned(chat_template: str) -> str:
    """A template that renders by itself as `chat_format` has it rendered, on any day."""
    told = "".join(f"{{%- set {name} = {json.dumps(v)} -%}}\n" for name, v in RENDERING.items())
    return _FIXED_DATE + told + chat_template


def mark(template: str) -> str:
    """The comment that begins an exported chat template whose words are those of `prep.template`.

    Args:
      template: row of `prompts.TEMPLATES`.
    """
    return f"{{#- prep.template={template} -#}}\n"


def marked(chat_template: str) -> str | None:
    """The row of `prompts.TEMPLATES` whose words a chat template holds, if an export wrote it.

    Such a model is no chat model: its prompts are plain text.
    """
    found = _OWN.match(chat_template)
    return found[1] if found else None


@dataclasses.dataclass(frozen=True)
class ChatFormat:
    """How a prompt becomes the user's message, ready for the answer.

    Attributes:
      before: ids up to the last special token before the text.
      lead: text between them and the user's, tokenized together with it.
      tail: text after the user's, likewise.
      after: ids from the first special token after it, to where the answer begins.
      end_id: the special token that ends an answer.
      anchor: text to tokenize in front and to cut off again, for tokenizers that would put a space
        in front; or empty.
      anchor_length: its ids.
    """

    before: tuple[int, ...]
    lead: str
    tail: str
    after: tuple[int, ...]
    end_id: int
    anchor: str = ""
    anchor_length: int = 0

    def prompt_ids(self, text: str, encode: Callable[[str], list[int]]) -> list[int]:
        """The ids of a conversation up to the answer.

        Args:
          text: of the user, white space around which is left out, as many templates do.
          encode: text to ids, with special tokens' names as text.
        """
        middle = encode(f"{self.anchor}{self.lead}{text.strip()}{self.tail}")
        return [*self.before, *middle[self.anchor_length :], *self.after]


def chat_format(
    processor: Any, special: Collection[int], encode: Callable[[str], list[int]], path: Path
) -> ChatFormat:
    """Finds the format of a tokenizer's chat template.

    Args:
      processor: a Hugging Face tokenizer with a template.
      special: ids of its special tokens.
      encode: text to ids, with special tokens' names as text.
      path: of the tokenizer, for messages.

    Raises:
      InputError: if the template fails, is not of the form prefix + text + suffix, or writes no
        special token after an answer.
    """

    def render(text: str, *answer: str) -> str:
        roles = ("user", "assistant")
        messages = [
            {"role": role, "content": content}
            for role, content in zip(roles, (text, *answer), strict=False)
        ]
        try:
            return processor.apply_chat_template(
                messages,
                chat_template=_FIXED_DATE + processor.get_chat_template(),
                tokenize=False,
                add_generation_prompt=not answer,
                **RENDERING,
            )
        except Exception as error:  # a template may raise anything
            raise _unusable(path, f"it fails: {error}") from error

    prefix, found, suffix = render(_SENTINEL).partition(_SENTINEL)
    texts = [sample.strip() for sample in _SAMPLES]
    if not found or any(render(text) != prefix + text + suffix for text in texts):
        raise _unusable(path, "what it writes is not a prefix, the user's text and a suffix")

    def tokenize(text: str) -> list[tuple[int, int, int]]:
        """Ids with where in the text they start and end; names of special tokens are these."""
        encoded = processor(
            text,
            add_special_tokens=False,
            split_special_tokens=False,
            return_offsets_mapping=True,
            verbose=False,
        )
        pairs = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        return [(number, *place) for number, place in pairs]

    def ids(text: str) -> list[int]:
        return [number for number, _, _ in tokenize(text)]

    *_, closing = render(_SENTINEL, "Answer" + _SENTINEL).partition("Answer" + _SENTINEL)
    ends = [(number, start) for number, start, _ in tokenize(closing) if number in special]
    if not ends or closing[: ends[0][1]].strip():
        raise _unusable(path, "it writes no special token right after an answer")
    # Tokenizers part texts at special tokens, so that what lies beyond them is always the same.
    last = max((end for number, _, end in tokenize(prefix) if number in special), default=0)
    first = min(
        (start for number, start, _ in tokenize(suffix) if number in special), default=len(suffix)
    )
    found_format = ChatFormat(
        before=tuple(ids(prefix[:last])),
        lead=prefix[last:],
        tail=suffix[:first],
        after=tuple(ids(suffix[first:])),
        end_id=ends[0][0],
    )
    anchored = dataclasses.replace(found_format, anchor="\n", anchor_length=len(encode("\n")))
    for candidate in (found_format, anchored):
        if all(candidate.prompt_ids(t, encode) == ids(prefix + t + suffix) for t in texts):
            return candidate
    raise _unusable(path, "this tokenizer reads the user's text differently inside of it")


def _unusable(path: Path, reason: str) -> InputError:
    return InputError(
        f"{path}: the tokenizer's chat template cannot be used: {reason}; set data.chat=never to "
        "train with the plain prompts of prep.template"
    )
