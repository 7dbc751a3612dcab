"""A process of the tests that translates texts with the `openai` back end, and may be killed.

Its argument is JSON: base_url, cache, count of texts, concurrency.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from data_prep.translation.requests import Request
from data_prep.translation.stage import Translations
from tests.data_prep.translation.server import MODEL, PROMPT
from xcot_jax.settings import OpenaiSettings, PrepSettings, Settings, TranslateSettings


def settings(base_url: str, **changes) -> Settings:
    """Settings that the server of the tests understands."""
    options = {"model": MODEL, "prompt": PROMPT, "pause": 0.01, "timeout": 20.0} | changes
    openai = OpenaiSettings(base_url=base_url, **options)
    return Settings(prep=PrepSettings(translate=TranslateSettings(backend="openai", openai=openai)))


def texts(count: int) -> list[Request]:
    return [Request(f"Question {number}: how many?", "en", "sw") for number in range(count)]


if __name__ == "__main__":
    # Where the tests run in the background, their shell has Ctrl-C ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    job = json.loads(sys.argv[1])
    run = settings(job["base_url"], concurrency=job["concurrency"])
    with Translations.open(run, Path(job["cache"])) as translations:
        print(dict(translations.make(texts(job["count"]), "translate sw", job["count"])))
