"""One face for Hugging Face tokenizers and SentencePiece models.

Prompt, preamble and answer are encoded separately and their ids joined, so that an answer has the
same ids after every prompt. Hence `encode` adds nothing: no beginning, no end, no special token
found in text. Text in, ids out, and the same text back. `prompt_ids` alone knows how a sequence
begins, and whether the prompt becomes a message of a chat.
"""

from __future__ import annotations

import abc
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import sentencepiece

from xcot_jax.data.chat import ChatFormat, chat_format, marked
from xcot_jax.errors import InputError

MODEL_FILE = "tokenizer.model"  # of a SentencePiece model in a directory
_HUGGING_FACE_FILES = ("tokenizer.json", "tokenizer_config.json")
_SPACE_MARK = "\u2581"  # what SentencePiece writes for a space inside of pieces
_PARTIAL = "\ufffd"  # what the bytes of half a character decode to


@dataclasses.dataclass(frozen=True, eq=False)
class Tokenizer(abc.ABC):
    """Text to ids and back. Can be pickled, and shared between threads.

    Attributes:
      path: where it was loaded from.
      fingerprint: SHA-256 of all that decides its ids; part of the key of whatever is cached.
      vocab_size: all ids it gives are below it; special tokens that no sequence of ours has may
        lie above.
      bos_id: id that begins a sequence for models trained with one, or None.
      eos_id: id that ends a response; it is trained. Of a chat, what ends the assistant's turn.
      pad_id: id that fills rows; never `eos_id`. Where it stands nothing is attended to or trained,
        so a tokenizer without one lends another token's.
      special: ids that stand for no text, with their names.
      chat: how prompts become messages of a chat, or None for plain text.
    """

    path: Path
    fingerprint: str
    vocab_size: int
    bos_id: int | None
    eos_id: int
    pad_id: int
    special: Mapping[int, str] = dataclasses.field(repr=False)
    chat: ChatFormat | None = dataclasses.field(repr=False)

    @abc.abstractmethod
    def encode(self, text: str) -> list[int]:
        """The ids of a text, without any special token."""

    @abc.abstractmethod
    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of each text."""

    @abc.abstractmethod
    def _decode(self, ids: list[int]) -> str:
        """The text of ids none of which is special."""

    def prompt_ids(self, prompt: str) -> list[int]:
        """The ids of a sequence up to where the model speaks."""
        if self.chat:
            return self.chat.prompt_ids(prompt, self.encode)
        return ([] if self.bos_id is None else [self.bos_id]) + self.encode(prompt)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; special ones, and those beyond the vocabulary, are left out."""
        numbers = map(int, ids)
        return self._decode([i for i in numbers if i < self.vocab_size and i not in self.special])

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """What each id adds to the text, for people to look at.

        Joined, the pieces of ordinary ids are their `decode`; a special id gives its name. An id
        that leaves a character unfinished gives "", and the one that finishes it the character.
        """
        pieces: list[str] = []
        window: list[int] = []  # ids not shown yet, after the one before them: some tokenizers
        shown = 0  # decode a first id without its space. So many of its characters were shown.
        for number in map(int, ids):
            if number in self.special or number >= self.vocab_size:
                if window:
                    pieces[-1] += self._decode(window)[shown:]
                pieces.append(self.special.get(number, f"<{number}>"))
                window, shown = [], 0
                continue
            window.append(number)
            text = self._decode(window)[shown:]
            if text.endswith(_PARTIAL):
                pieces.append("")
            else:
                pieces.append(text)
                window = [number]
                shown = len(self._decode(window))
        if window:
            pieces[-1] += self._decode(window)[shown:]
        return pieces


@dataclasses.dataclass(frozen=True, eq=False)
class SentencePieceTokenizer(Tokenizer):
    """A SentencePiece `.model` file.

    Attributes:
      processor: the model.
      space_mark_ids: bytes of U+2581, which as a character of the text would come back as a space.
    """

    processor: sentencepiece.SentencePieceProcessor = dataclasses.field(repr=False)
    space_mark_ids: tuple[int, ...] = dataclasses.field(repr=False)

    def encode(self, text: str) -> list[int]:
        """The ids of a text; a U+2581 in it becomes its bytes."""
        if _SPACE_MARK not in text:
            return self.processor.encode(text)
        head, *rest = (self.processor.encode(part) for part in text.split(_SPACE_MARK))
        return head + [i for part in rest for i in (*self.space_mark_ids, *part)]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of each text, one after another."""
        return [self.encode(text) for text in texts]

    def _decode(self, ids: list[int]) -> str:
        return self.processor.decode(ids)


@dataclasses.dataclass(frozen=True, eq=False)
class HuggingFaceTokenizer(Tokenizer):
    """A directory that `transformers.AutoTokenizer` reads.

    Attributes:
      processor: the tokenizer.
    """

    processor: Any = dataclasses.field(repr=False)

    def encode(self, text: str) -> list[int]:
        """The ids of a text; the name of a special token in it is text like any other."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of each text, in one call of the tokenizer."""
        if not texts:
            return []
        return self.processor(
            list(texts),
            add_special_tokens=False,
            split_special_tokens=True,  # "</s>" in a question is text, not the end of it
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]

    def _decode(self, ids: list[int]) -> str:
        return self.processor.decode(
            ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )


def load_tokenizer(path: str | os.PathLike[str], chat: str = "never") -> Tokenizer:
    """Loads a tokenizer from local files.

    Args:
      path: a SentencePiece model file; or a directory with a Hugging Face tokenizer, or else with
        a SentencePiece `tokenizer.model`.
      chat: whether prompts become messages of the tokenizer's chat template: "auto" if it has one
        that is not of an export of ours, "always", or "never".

    Raises:
      InputError: if there is none at the path or it cannot be read; if it has no end-of-sequence
        token, or not the chat template asked for; or if it loses line breaks, which end prompts.
    """
    place = Path(path).expanduser()
    if not place.exists():
        raise InputError(f"{place} does not exist: no tokenizer there")
    model = place / MODEL_FILE if place.is_dir() else place
    tokenizer: Tokenizer
    if place.is_dir() and any((place / name).exists() for name in _HUGGING_FACE_FILES):
        tokenizer = _load_hugging_face(place, chat)
    elif model.exists():
        tokenizer = _load_sentencepiece(model)
    else:
        names = ", ".join((*_HUGGING_FACE_FILES, MODEL_FILE))
        raise InputError(
            f"{place} holds no tokenizer: none of {names} is there; data.tokenizer may name "
            "another place"
        )
    if chat == "always" and not tokenizer.chat:
        raise InputError(
            f"{place}: the tokenizer has no chat template; set data.chat to auto or never, or use "
            "the tokenizer of a chat model"
        )
    sample = "1\n2\n\n3\n"
    if (read_back := tokenizer.decode(tokenizer.encode(sample))) != sample:
        raise InputError(
            f"{place}: this tokenizer turns {sample!r} into {read_back!r}; prompts and answers "
            "need their line breaks, so choose one that keeps them"
        )
    return tokenizer


def _load_sentencepiece(path: Path) -> SentencePieceTokenizer:
    content = path.read_bytes()
    processor = sentencepiece.SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(content)
    except (RuntimeError, OSError) as error:
        raise InputError(f"{path}: not a SentencePiece model: {error}") from error
    ids = range(processor.get_piece_size())
    found = [processor.piece_to_id(f"<0x{byte:02X}>") for byte in _SPACE_MARK.encode()]
    has_bytes = all(processor.is_byte(i) for i in found)
    named = {
        name: number if number >= 0 else None
        for name, number in (
            ("pad", processor.pad_id()),
            ("unk", processor.unk_id()),
            ("bos", processor.bos_id()),
            ("eos", processor.eos_id()),
        )
    }
    eos = _end(path, named["eos"])
    return SentencePieceTokenizer(
        path=path,
        fingerprint=hashlib.sha256(content).hexdigest(),
        vocab_size=len(ids),
        bos_id=named["bos"],
        eos_id=eos,
        pad_id=_padding(eos, named["pad"], named["unk"], named["bos"]),
        special={
            i: processor.id_to_piece(i)
            for i in ids
            if processor.is_control(i) or processor.is_unknown(i)
        },
        chat=None,
        processor=processor,
        space_mark_ids=tuple(found) if has_bytes else tuple(processor.encode(_SPACE_MARK)),
    )


def _load_hugging_face(path: Path, chat: str) -> HuggingFaceTokenizer:
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # PyTorch is not missed here
    from transformers import AutoTokenizer  # over a second

    try:
        processor = AutoTokenizer.from_pretrained(str(path), local_files_only=True)
    except Exception as error:  # broken files make it raise anything, KeyError for one
        raise InputError(f"{path}: transformers cannot load this tokenizer: {error}") from error
    if not processor.is_fast:
        raise InputError(
            f"{path}: only tokenizers with a tokenizer.json are read; convert it first"
        )
    # Some name a token to begin with that their models were never given (BLOOM's, GPT-2's).
    begins = processor.bos_token_id in processor("a")["input_ids"][:1]
    bos = processor.bos_token_id if begins else None
    eos = _end(path, processor.eos_token_id)
    special = {
        i: token.content for i, token in processor.added_tokens_decoder.items() if token.special
    }
    special |= dict(zip(processor.all_special_ids, processor.all_special_tokens, strict=True))
    pads = (processor.pad_token_id, processor.unk_token_id, processor.bos_token_id)
    content: list[Any] = [processor.backend_tokenizer.to_str(), eos, bos]
    given = {i for i in processor.get_vocab().values() if i not in special}
    plain = HuggingFaceTokenizer(
        path=path,
        fingerprint=hashlib.sha256(json.dumps(content).encode()).hexdigest(),
        vocab_size=max(given | {eos, bos or 0, _padding(eos, *pads)}) + 1,
        bos_id=bos,
        eos_id=eos,
        pad_id=_padding(eos, *pads),
        special=special,
        chat=None,
        processor=processor,
    )
    if chat == "never" or not processor.chat_template:
        return plain
    if chat == "auto" and marked(processor.get_chat_template()):
        return plain
    found = chat_format(processor, special, plain.encode, path)
    pad = _padding(found.end_id, *pads)
    return dataclasses.replace(
        plain,
        fingerprint=hashlib.sha256(
            json.dumps([*content, dataclasses.astuple(found)]).encode()
        ).hexdigest(),
        vocab_size=max(plain.vocab_size - 1, pad, found.end_id, *found.before, *found.after) + 1,
        eos_id=found.end_id,
        pad_id=pad,
        chat=found,
    )


def _end(path: Path, eos: int | None) -> int:
    if eos is None:
        raise InputError(
            f"{path}: the tokenizer has no end-of-sequence token, which responses are trained to "
            "end in; set eos_token in its tokenizer_config.json, or train a model with one"
        )
    return eos


def _padding(eos: int, *candidates: int | None) -> int:
    """The first id that is not the end of sequence; any other will do where there is none."""
    return next(i for i in (*candidates, 0, 1) if i is not None and i != eos)
