"""The languages of the story problems: one module with a `TABLE` a language."""

from __future__ import annotations

import functools
import importlib
import importlib.util

from data_prep.stories.tables import Table
from xcot_jax.languages import CODES, language


@functools.cache
def available() -> tuple[str, ...]:
    """Codes of the languages that have story problems, in the order of the language table."""
    return tuple(code for code in CODES if importlib.util.find_spec(f"{__name__}.{code}"))


@functools.cache
def table(code: str) -> Table:
    """The words and templates of a language.

    Raises:
      ValueError: for a code that is not a language, or one without story problems.
    """
    if language(code).code not in available():
        raise ValueError(f"no story problems in {code!r}; there are {', '.join(available())}")
    found: Table = importlib.import_module(f"{__name__}.{code}").TABLE
    return found
