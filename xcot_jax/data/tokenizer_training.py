"""Training a SentencePiece model whose pieces are words, in scripts with and without spaces."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import sentencepiece

from xcot_jax.data.tokenizer import Tokenizer, load_tokenizer
from xcot_jax.errors import InputError
from xcot_jax.files import write_whole

# Scripts without spaces between words: Thai, Lao, Burmese, Khmer, kana, and Chinese characters.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_BOUNDARY = re.compile(rf"(\n|\d|(?:(?!\d)[{_UNSPACED}])+)")
_FIXED_PIECES = 4 + 256 + 1  # pad, unk, bos and eos; bytes; line break


def train_sentencepiece(
    texts: Iterable[str],
    path: str | os.PathLike[str],
    vocab_size: int,
    whole_numbers_below: int = 0,
) -> Tokenizer:
    """Trains a tokenizer on texts and writes it to `path`, whole or not at all.

    Every text survives encoding and decoding exactly: nothing is normalised, no space added or
    removed, a line break is one token, and characters not seen in training become bytes.

    *Words.* Pieces are learned within words only, else a corpus of similar sentences teaches whole
    phrases of Chinese, Japanese and Thai as one piece, and a word replaced by its translation turns
    up in company it never had. ICU finds the words of unspaced scripts; a shorter maximal piece
    would break the long words of other languages instead.

    *Byte-pair encoding* because it is fast, free of chance, and makes frequent words one piece
    however small the corpus is; the unigram model takes six to ten times as long and falls back to
    letters for words it prunes.

    *Numbers.* Digits are single pieces, in every script. With `whole_numbers_below` so is each
    integer below it, wherever it stands; longer runs of digits are read from the left, each time as
    the longest such integer ("345" below 100 is "34", "5").

    Args:
      texts: the corpus; consumed once.
      path: of the model file.
      vocab_size: most pieces it may have; a small corpus gives fewer.
      whole_numbers_below: integers below this are one token each.

    Returns:
      The tokenizer, loaded from `path`. Ids: padding 0, unknown 1, beginning 2, end 3.

    Raises:
      InputError: if there is no text, or `vocab_size` cannot hold the characters of the corpus.
    """
    from icu4py.breakers import WordBreaker  # ICU's dictionaries, which only training needs

    target = Path(path)
    whole = [str(number) for number in range(whole_numbers_below)]
    if vocab_size <= _FIXED_PIECES + len(whole):
        raise InputError(
            f"a vocabulary of {vocab_size} pieces has no room for words: {_FIXED_PIECES} are "
            f"special ones and bytes, {len(whole)} whole numbers; raise vocab_size"
        )
    model = io.BytesIO()
    interruptions: list[BaseException] = []

    def sentences() -> Iterator[str]:
        try:
            yield from _words(texts, WordBreaker)
        except BaseException as error:  # SentencePiece would make a RuntimeError of it
            interruptions.append(error)
            raise

    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=sentences(),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocab_size,
            hard_vocab_limit=False,
            character_coverage=1.0,
            required_chars="\u2581",  # a corpus without spaces must not make them bytes
            byte_fallback=True,
            user_defined_symbols=["\n", *whole],
            split_digits=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=False,
            max_sentence_length=1 << 24,  # longer sentences would be dropped
            shuffle_input_sentence=False,
            num_threads=1,
            pad_id=0,
            unk_id=1,
            bos_id=2,
            eos_id=3,
            minloglevel=2,
        )
    except RuntimeError as error:
        if interruptions:
            raise interruptions[0] from None
        raise InputError(
            f"{target}: no tokenizer of {vocab_size} pieces can be trained on these texts (is "
            f"there any, and is vocab_size above the number of their characters?): {error}"
        ) from error
    target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(target, model.getvalue())
    return load_tokenizer(target)


def _words(
    texts: Iterable[str], word_breaker: Callable[[str, str], Iterable[str]]
) -> Iterator[str]:
    """Cuts texts where no piece may reach across: SentencePiece looks no further than sentences."""
    for text in texts:
        for number, part in enumerate(_BOUNDARY.split(text)):
            if number % 2 and len(part) > 1:
                yield from word_breaker(part, "en")  # ICU takes the script from the text
            elif part and part != "\n":
                yield part
