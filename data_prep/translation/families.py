"""The encoder-decoders that translate: how each is told the languages, as a table."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xcot_jax.errors import InputError
from xcot_jax.languages import CODES, language


@dataclasses.dataclass(frozen=True)
class Family:
    """Checkpoints that are told the languages in the same way.

    Attributes:
      model_types: `model_type` in their config.json.
      languages: language code -> the code their tokenizer knows it by.
      token: the vocabulary's token of a language, with {code}.
      prefix: what stands before a text, with {code} of the target; "" where the tokenizer puts the
        source's token there, and the first token of the translation is forced to be the target's.
      licence: what is known of the licence where the checkpoint does not say it.
    """

    model_types: tuple[str, ...]
    languages: Mapping[str, str]
    token: str
    prefix: str = ""
    licence: str = "the checkpoint names no licence"

    def token_of(self, code: str) -> str:
        """The token of one of our languages.

        Raises:
          InputError: if these models have none.
        """
        if code not in self.languages:
            raise InputError(f"these models do not know {language(code).name} ({code})")
        return self.token.format(code=self.languages[code])


FAMILIES: dict[str, Family] = {
    # NLLB Team, arXiv 2207.04672: FLORES-200 codes of language and script.
    "NLLB-200": Family(
        model_types=("m2m_100", "nllb-moe"),
        languages={
            "en": "eng_Latn",
            "de": "deu_Latn",
            "fr": "fra_Latn",
            "es": "spa_Latn",
            "ru": "rus_Cyrl",
            "zh": "zho_Hans",
            "ja": "jpn_Jpan",
            "th": "tha_Thai",
            "te": "tel_Telu",
            "bn": "ben_Beng",
            "sw": "swh_Latn",
        },
        token="{code}",
        licence="NLLB-200 checkpoints are CC-BY-NC-4.0: not for commercial use",
    ),
    # Fan et al., arXiv 2010.11125: a hundred languages, Telugu not among them.
    "M2M100": Family(
        model_types=("m2m_100",),
        languages={code: code for code in CODES if code != "te"},
        token="__{code}__",
    ),
    # Kudugunta et al., arXiv 2309.04662: a T5 whose input begins with the target.
    "MADLAD-400": Family(
        model_types=("t5",),
        languages={code: code for code in CODES},
        token="<2{code}>",
        prefix="<2{code}> ",
    ),
}


def family_of(model_type: str, tokenizer: Any, checkpoint: str) -> str:
    """The family of a checkpoint, by its model type and by how its tokenizer writes English.

    Raises:
      InputError: if it is none of the table.
    """
    for name, family in FAMILIES.items():
        if model_type in family.model_types and has_token(tokenizer, family.token_of("en")):
            return name
    known = "; ".join(
        f"{name}: {' or '.join(f.model_types)} with {f.token_of('en')}"
        for name, f in FAMILIES.items()
    )
    raise InputError(
        f"prep.translate.seq2seq.checkpoint = {checkpoint}: a model of type {model_type!r} whose "
        f"tokenizer marks languages in no known way ({known})"
    )


def has_token(tokenizer: Any, token: str) -> bool:
    """Whether a token is one of the tokenizer's vocabulary."""
    number = tokenizer.convert_tokens_to_ids(token)
    return number is not None and number != tokenizer.unk_token_id


_FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)\n---\s*(?:\n|\Z)", re.DOTALL)
_LICENCE = re.compile(r"^(license|license_name|license_link):[ \t]*(\S.*)$", re.MULTILINE)


def licence(card: Path | None, family: str) -> str:
    """The licence that a checkpoint's README.md names, or what is known of its family.

    Args:
      card: the README.md, if there is one.
      family: row of `FAMILIES`.
    """
    text = card.read_text(encoding="utf-8", errors="replace") if card else ""
    front = _FRONT_MATTER.match(text)
    named = dict(_LICENCE.findall(front.group(1))) if front else {}
    if not named:
        return FAMILIES[family].licence
    words = " ".join(value.strip().strip("\"'") for value in named.values())
    limit = ": not for commercial use" if re.search(r"(?i)\bnc\b", words) else ""
    return f"licence {words}{limit}"
