"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a file under a temporary name beside it and renames it.

    Text is UTF-8; a lone surrogate, as a byte-level tokenizer may decode to, becomes its escape.
    """
    if isinstance(content, str):
        content = content.encode("utf-8", errors="backslashreplace")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
