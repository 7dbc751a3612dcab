"""What the records of a dataset depend on: settings and the content of input files, as digests."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from data_prep.translation.model import TrainedModel
from data_prep.translation.seq2seq import checkpoint_digest
from xcot_jax.settings import Settings

# Of `prep`, what changes how the work is done and not what comes out.
_IRRELEVANT = frozenset(
    {
        "prep.path",  # Of files, the content counts, not the name.
        "prep.workers",
        "prep.translate.cache",
        "prep.translate.openai.base_url",
        "prep.translate.openai.key_variable",
        "prep.translate.openai.concurrency",
        "prep.translate.openai.requests_per_minute",
        "prep.translate.openai.timeout",
        "prep.translate.openai.attempts",
        "prep.translate.seq2seq.batch_size",
        "prep.translate.seq2seq.device",
    }
)


def matters(key: str) -> bool:
    """Whether the records depend on a setting."""
    if key in ("seed", "high_resource", "data.students"):
        return True
    return key.startswith("prep.") and key not in _IRRELEVANT


def fingerprint(settings: Settings, inputs: dict[str, str]) -> str:
    """Identifies everything the records are made from."""
    values = {key: value for key, value in _leaves(dataclasses.asdict(settings)) if matters(key)}
    text = json.dumps({"settings": values, "inputs": inputs}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def inputs(settings: Settings) -> dict[str, str]:
    """SHA-256 of the files that are read, by the setting that names them; of a directory's files
    together. What is not there is left out.
    """
    prep = settings.prep
    named: dict[str, tuple[str, ...]] = {
        "prep.path": (prep.path,) if prep.source != "story" else (),
        "prep.xicl.lexicon": prep.xicl.lexicon,
        "prep.translate.files": prep.translate.files,
    }
    if "contamination" in prep.quality.rules and prep.source != "story":
        named["prep.quality.test_files"] = prep.quality.test_files
        named["eval.mgsm_dir"] = (settings.eval.mgsm_dir,)
        named["eval.msvamp_dir"] = (settings.eval.msvamp_dir,)
    found = {
        key: [path for name in names if name for path in _files(Path(name).expanduser())]
        for key, names in named.items()
    }
    digests = {key: _digest(paths) for key, paths in found.items() if paths}
    return digests | _checkpoints(settings)


def _checkpoints(settings: Settings) -> dict[str, str]:
    """What tells apart the models whose translations are used: of a run, its newest checkpoint."""
    prep = settings.prep
    found = {}
    restated = prep.mixture.random_cot > 0 and prep.random_cot.translations == "model"
    if prep.translate.backend == "model" or restated:
        found["prep.translate.workdir"] = TrainedModel(settings).identity
    checkpoint = Path(prep.translate.seq2seq.checkpoint).expanduser()
    if prep.translate.backend == "seq2seq" and checkpoint.is_dir():
        found["prep.translate.seq2seq.checkpoint"] = checkpoint_digest(str(checkpoint))
    return found


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.is_file())
    return [path] if path.is_file() else []


def _digest(paths: list[Path]) -> str:
    digests = []
    for path in paths:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _leaves(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for key, value in tree.items():
        if isinstance(value, dict):
            flat += _leaves(value, f"{prefix}{key}.")
        else:
            flat.append((prefix + key, value))
    return flat
