"""The `precomputed` back end: translations that stand in parallel JSON Lines files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from data_prep.sources import rendered
from data_prep.translation.requests import Refusal, Request
from xcot_jax.errors import InputError
from xcot_jax.settings import Settings


class Precomputed:
    """Looks questions up in files of `{"question": {"en": "...", "sw": "..."}}` a line.

    A question is found by its text in the source language, case, spacing and Unicode composition
    apart. The first row that has the target language counts. Only the places of rows are held in
    memory.
    """

    name = "precomputed"
    patience = 0

    def __init__(self, settings: Settings) -> None:
        """Reads the files of `prep.translate.files` once.

        Raises:
          InputError: for a missing file or a row of another form, naming file and line.
        """
        self._source = settings.high_resource[0]
        self._paths = tuple(Path(f).expanduser() for f in settings.prep.translate.files)
        if not self._paths:
            raise InputError(
                'prep.translate.backend = "precomputed" reads files: set prep.translate.files to '
                "parallel JSON Lines"
            )
        self._rows: dict[bytes, tuple[tuple[int, int], ...]] = {}
        digests, described = [], []
        for number, path in enumerate(self._paths):
            if not path.is_file():
                raise InputError(f"prep.translate.files: {path}: no such file")
            digest, rows, without = self._read(number, path)
            digests.append(digest)
            lack = f", {without:,} without a question in {self._source}" if without else ""
            described.append(f"{path.name} ({rows:,} rows{lack}; SHA-256 {digest[:12]})")
        self.identity = json.dumps({"files": digests, "source": self._source})
        self.provenance = "translations read from " + ", ".join(described)

    def _read(self, number: int, path: Path) -> tuple[str, int, int]:
        """Notes where the questions of a file are.

        Returns:
          SHA-256 of the file, its rows, and how many of them cannot be found for want of a question
          in the source language.
        """
        digest, rows, without, offset = hashlib.sha256(), 0, 0, 0
        with path.open("rb") as lines:
            for line_number, line in enumerate(lines, 1):
                digest.update(line)
                if line.strip():
                    rows += 1
                    question = _question(line, f"{path}:{line_number}").get(self._source)
                    if question is None:
                        without += 1
                    else:
                        key = _key(question)
                        self._rows[key] = (*self._rows.get(key, ()), (number, offset))
                offset += len(line)
        return digest.hexdigest(), rows, without

    def check(self, source: str, target: str) -> None:
        """Any pair of languages may be asked for."""

    def translate(self, requests: Sequence[Request]) -> Iterator[tuple[Request, str | Refusal]]:
        """Looks the requests up."""
        files: dict[int, BinaryIO] = {}
        try:
            for request in requests:
                found = None if request.source != self._source else self._find(request, files)
                yield request, found or Refusal("not in the files")
        finally:
            for file in files.values():
                file.close()

    def _find(self, request: Request, files: dict[int, BinaryIO]) -> str | None:
        for number, offset in self._rows.get(_key(request.text), ()):
            path = self._paths[number]
            if number not in files:
                files[number] = path.open("rb")
            files[number].seek(offset)
            question = _question(files[number].readline(), f"{path}, byte {offset}")
            translation = question.get(request.target, "").strip()
            if translation:
                return translation
        return None


def _key(text: str) -> bytes:
    encoded = rendered(text).encode(errors="surrogatepass")
    return hashlib.blake2b(encoded, digest_size=16).digest()


def _question(line: bytes, where: str) -> dict[str, str]:
    """The questions of a row by language."""
    try:
        row: Any = json.loads(line)
    except ValueError as error:  # Of JSON, or of UTF-8.
        raise InputError(f"{where}: not valid JSON: {error}") from error
    question = row.get("question") if isinstance(row, dict) else None
    if not isinstance(question, dict) or not all(isinstance(q, str) for q in question.values()):
        raise InputError(f'{where}: no "question" that is an object of language -> text')
    return question
