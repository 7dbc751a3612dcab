"""`xcot compile`: certifies a run's training step for a TPU slice that need not be there."""

from __future__ import annotations

import json
from pathlib import Path

from xcot_jax.certificate import certify
from xcot_jax.compile_report import as_json, as_text
from xcot_jax.files import write_whole
from xcot_jax.settings import Settings


def compile_check(
    settings: Settings, name: str, topology: str, search: bool = False, file: Path | None = None
) -> bool:
    """Compiles the step of a run, prints what the compiler says, and writes it to a file.

    Args:
      settings: of the run.
      name: of its config, as a user would give it.
      topology: such as "v5e:8x8".
      search: whether to find the most rows a chip holds.
      file: for all figures, as JSON.

    Returns:
      whether the step fits.

    Raises:
      InputError: for an unknown topology, or settings that do not fit it.
    """
    certificate = certify(settings, topology, search=search, told=_tell)
    record = as_json(certificate, name)
    print(as_text(record))
    if file:
        write_whole(file, json.dumps(record, indent=2) + "\n")
    return certificate.step is not None


def _tell(line: str) -> None:
    print(f"compiled {line}", flush=True)
