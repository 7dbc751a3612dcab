"""The `seq2seq` back end: a Hugging Face encoder-decoder such as NLLB-200 or MADLAD-400."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from data_prep.translation import sentences
from data_prep.translation.families import FAMILIES, family_of, has_token, licence
from data_prep.translation.requests import Refusal, Request
from xcot_jax.errors import InputError
from xcot_jax.languages import language
from xcot_jax.settings import Settings

_BATCHES = 8  # Sorted by length together: little padding, and results come soon.
_SAMPLE = 1 << 20  # Bytes read from each end of a big file to tell checkpoints apart.


class Seq2Seq:
    """Translates with a checkpoint of `families.FAMILIES`, sentence by sentence if wanted.

    The weights are loaded when the first text needs them.
    """

    name = "seq2seq"
    patience = 20

    def __init__(self, settings: Settings) -> None:
        """Loads the tokenizer, and says which model this is and under which licence.

        Raises:
          InputError: for a missing package, or a checkpoint that cannot be read or is of no
            family.
        """
        self._settings = chosen = settings.prep.translate.seq2seq
        self._checkpoint = chosen.checkpoint
        if not self._checkpoint:
            raise InputError("prep.translate.seq2seq.checkpoint is empty: name one")
        if Path(self._checkpoint).expanduser().is_dir():
            self._checkpoint = str(Path(self._checkpoint).expanduser())
        try:
            import torch  # noqa: F401
            import transformers
        except ImportError as error:
            raise InputError(
                f'prep.translate.backend = "seq2seq" needs the package {error.name}: '
                "pip install 'xcot-jax[seq2seq]'"
            ) from error
        try:
            self._config = transformers.AutoConfig.from_pretrained(self._checkpoint)
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(self._checkpoint)
        except (OSError, ValueError) as error:
            raise InputError(
                f"prep.translate.seq2seq.checkpoint = {chosen.checkpoint}: neither a directory "
                f"with a model and its tokenizer, nor such a name on the hub ({error})"
            ) from error
        name = family_of(self._config.model_type, self._tokenizer, chosen.checkpoint)
        self._family = FAMILIES[name]
        self.identity = json.dumps(
            {
                "checkpoint": checkpoint_digest(self._checkpoint),
                "beams": chosen.beams,
                "max_new_tokens": chosen.max_new_tokens,
                "by_sentence": chosen.by_sentence,
                "dtype": chosen.dtype,
            },
            sort_keys=True,
        )
        self.provenance = (
            f"translated by {chosen.checkpoint} ({name}); {licence(self._card(), name)}"
        )
        print(self.provenance)

    def _card(self) -> Path | None:
        from transformers.utils import cached_file

        found = cached_file(
            self._checkpoint,
            "README.md",
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
            _raise_exceptions_for_gated_repo=False,
        )
        return Path(found) if found else None

    def check(self, source: str, target: str) -> None:
        """Whether it knows both languages.

        Raises:
          InputError: if it does not.
        """
        for code in (source, target):
            if code not in self._family.languages or not has_token(
                self._tokenizer, self._family.token_of(code)
            ):
                raise InputError(
                    f"{self._checkpoint} has no token for {language(code).name}; choose another "
                    f"prep.translate.seq2seq.checkpoint, or leave {code} out of prep.languages"
                )

    def translate(self, requests: Sequence[Request]) -> Iterator[tuple[Request, str | Refusal]]:
        """Translates some batches at a time, of one pair of languages each."""
        pair = lambda request: (request.source, request.target)
        for (source, target), group in itertools.groupby(sorted(requests, key=pair), key=pair):
            self.check(source, target)
            while chunk := tuple(itertools.islice(group, _BATCHES * self._settings.batch_size)):
                yield from self._translate(chunk, source, target)

    def _translate(
        self, requests: Sequence[Request], source: str, target: str
    ) -> Iterator[tuple[Request, str | Refusal]]:
        cut = [
            sentences.split(request.text, source)
            if self._settings.by_sentence
            else [[request.text]]
            for request in requests
        ]
        pieces = dict.fromkeys(piece for lines in cut for line in lines for piece in line)
        translated = self._pieces(tuple(pieces), source, target)
        for request, lines in zip(requests, cut, strict=True):
            results = [[translated[piece] for piece in line] for line in lines]
            refusals = [r for line in results for r in line if isinstance(r, Refusal)]
            if refusals:
                yield request, refusals[0]
            else:
                text = sentences.join([[str(r) for r in line] for line in results], target)
                yield request, text or Refusal("empty translation")

    def _pieces(self, pieces: Sequence[str], source: str, target: str) -> dict[str, str | Refusal]:
        """Translations of texts short enough for the model."""
        results: dict[str, str | Refusal] = {}
        ids: dict[str, list[int]] = {}
        for piece in pieces:
            ids[piece] = self._encode(piece, source, target)
            if len(ids[piece]) > self._longest:
                results[piece] = Refusal(
                    "longer than the model reads", f"{len(ids[piece])} tokens of {self._longest}"
                )
        # Longest first: if memory does not suffice, it shows at once.
        order = sorted((p for p in pieces if p not in results), key=lambda p: -len(ids[p]))
        for start in range(0, len(order), self._settings.batch_size):
            batch = order[start : start + self._settings.batch_size]
            outputs = self._generate([ids[piece] for piece in batch], target)
            results.update(zip(batch, map(self._decode, outputs), strict=True))
        return results

    def _encode(self, text: str, source: str, target: str) -> list[int]:
        family, tokenizer = self._family, self._tokenizer
        if family.prefix:
            marker = family.token_of(target)
            ids = tokenizer(family.prefix.format(code=family.languages[target]) + text)["input_ids"]
        else:
            marker = family.token_of(source)
            tokenizer.src_lang = family.languages[source]
            ids = tokenizer(text)["input_ids"]
        if tokenizer.convert_tokens_to_ids(marker) not in ids:
            raise InputError(
                f"{self._checkpoint}: its tokenizer does not mark a text by {marker}; "
                "tokenizer_config.json may name a wrong tokenizer_class"
            )
        return ids

    def _generate(self, ids: Sequence[list[int]], target: str) -> list[list[int]]:
        """The tokens after each text's start token."""
        import torch

        forced = None
        if not self._family.prefix:
            forced = self._tokenizer.convert_tokens_to_ids(self._family.token_of(target))
        width, pad = max(map(len, ids)), self._tokenizer.pad_token_id
        tokens = torch.tensor([row + [pad] * (width - len(row)) for row in ids])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids])
        try:
            with torch.no_grad():
                output = self._model.generate(
                    input_ids=tokens.to(self._model.device),
                    attention_mask=mask.to(self._model.device),
                    num_beams=self._settings.beams,
                    do_sample=False,
                    max_length=None,
                    max_new_tokens=self._settings.max_new_tokens,
                    forced_bos_token_id=forced,
                )
        except torch.OutOfMemoryError as error:
            raise InputError(
                "out of memory: lower prep.translate.seq2seq.batch_size or beams"
            ) from error
        return [row[1:] if row[1] != forced else row[2:] for row in output.tolist()]

    def _decode(self, tokens: list[int]) -> str | Refusal:
        if self._tokenizer.eos_token_id not in tokens:
            return Refusal("translation cut off", "see prep.translate.seq2seq.max_new_tokens")
        text = self._tokenizer.decode(tokens, skip_special_tokens=True).strip()
        return text or Refusal("empty translation")

    @functools.cached_property
    def _longest(self) -> int:
        """Most tokens of an input."""
        positions = getattr(self._config, "max_position_embeddings", None)
        return min(positions or 1 << 30, self._tokenizer.model_max_length)

    @functools.cached_property
    def _model(self) -> Any:
        import torch
        import transformers

        device = self._settings.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            model = transformers.AutoModelForSeq2SeqLM.from_pretrained(
                self._checkpoint, dtype=getattr(torch, self._settings.dtype)
            )
            return model.to(device).eval()
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(
                f"{self._checkpoint}: the model cannot be loaded to {device} ({error})"
            ) from error


def checkpoint_digest(checkpoint: str) -> str:
    """Identifies the weights and the tokenizer: the hub's commit, or the files of a directory."""
    if not Path(checkpoint).is_dir():
        from transformers.utils import cached_file
        from transformers.utils.hub import extract_commit_hash

        return f"{checkpoint}@{extract_commit_hash(cached_file(checkpoint, 'config.json'), None)}"
    digest = hashlib.sha256()
    for path in sorted(Path(checkpoint).iterdir()):
        if path.is_file() and path.name != "README.md" and not path.name.startswith("."):
            size = path.stat().st_size
            digest.update(f"{path.name}\0{size}\0".encode())
            with path.open("rb") as file:
                digest.update(file.read(_SAMPLE))
                if size > _SAMPLE:
                    file.seek(max(size - _SAMPLE, _SAMPLE))
                    digest.update(file.read())
    return digest.hexdigest()
