"""How a setting is written down: a dataclass field with its meaning and its allowed values."""

from __future__ import annotations

import dataclasses
from typing import Any


def setting(
    default: Any,
    meaning: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] | None = None,
    empty: bool = False,
) -> Any:
    """A dataclass field with its meaning and its allowed values (`low` and `high` are allowed).

    A tuple may be empty where `empty` says so.
    """
    metadata = {
        "meaning": meaning,
        "low": low,
        "high": high,
        "choices": choices,
        "empty": empty or default == (),
    }
    return dataclasses.field(default=default, metadata=metadata)


def section(cls: type) -> Any:
    """A nested group of settings."""
    return dataclasses.field(default_factory=cls)
