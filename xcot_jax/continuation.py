"""What a run may change when it continues, and what its working directory keeps to tell."""

from __future__ import annotations

import json
from collections.abc import Mapping

from xcot_jax import config as config_files
from xcot_jax import weights
from xcot_jax.errors import InputError
from xcot_jax.files import AnyPath, write_whole
from xcot_jax.settings import Settings

# Settings that may differ between a checkpoint and the run that continues it; what lies at the
# paths among them is compared by content.
_FREE = (
    "name",
    "train.",
    "eval.",
    "prep.",
    "mesh.",
    "data.dir",
    "data.tokenizer",
    "data.prefetch",
    "model.remat",
    "model.init_from",
)


def check(settings: Settings, workdir: AnyPath, inputs: Mapping[str, str]) -> None:
    """Refuses to continue a run whose data, tokenizer or model changed; says what else did.

    Args:
      settings: of the run now.
      workdir: of the run.
      inputs: name of what it reads -> its fingerprint now.

    Raises:
      InputError: naming what changed.
    """
    weights.check_inputs(settings, workdir, inputs)
    old = config_files.load(workdir / "config.json")
    changed = config_files.differences(old, settings)
    told = {key: values for key, values in changed.items() if key.startswith(_FREE)}
    refused = {key: values for key, values in changed.items() if key not in told}
    if refused:
        lines = "\n".join(f"  {key}: was {a!r}, now {b!r}" for key, (a, b) in refused.items())
        raise InputError(
            f"{workdir} holds a run with other settings:\n{lines}\n"
            "continue it with its own config.json, or choose a new --workdir"
        )
    for key, (before, now) in told.items():
        print(f"note: {key} was {before!r} and is now {now!r}")


def keep(settings: Settings, workdir: AnyPath, inputs: Mapping[str, str]) -> None:
    """Writes what `check` compares with, and what stands in for the weights a run began with."""
    write_whole(workdir / weights.INPUTS_FILE, json.dumps(inputs, indent=2) + "\n")
    config_files.save(settings, workdir / "config.json")
    weights.keep_base_config(settings, workdir)
