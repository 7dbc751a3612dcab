"""Who makes the groups of a dataset and writes them: this machine, or an Apache Beam runner."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Protocol

from data_prep.data_card import Tally
from data_prep.making import Job, make
from xcot_jax.data import dataset
from xcot_jax.errors import InputError


class Runner(Protocol):
    """Writes the records of a job and adds to the counts."""

    def __call__(self, job: Job, tally: Tally, workers: int, options: Sequence[str] = ()) -> None:
        """Takes `prep.workers`, and arguments of the runner's own."""


def local(job: Job, tally: Tally, workers: int, options: Sequence[str] = ()) -> None:
    """Makes groups in processes of this machine and writes them as they come."""
    records = make(job.works, job.orders, workers, tally)
    dataset.write_records(job.directory, records, job.shard_counts)


def beam(job: Job, tally: Tally, workers: int, options: Sequence[str] = ()) -> None:
    """Makes groups in an Apache Beam pipeline (see `data_prep.beam_pipeline`)."""
    try:
        from data_prep import beam_pipeline
    except ImportError as error:
        raise InputError(
            f"--runner=beam needs Apache Beam ({error}): pip install 'xcot-jax[beam]'"
        ) from error
    beam_pipeline.run(job, tally, options)


RUNNERS: dict[str, Runner] = {"local": local, "beam": beam}


def find(name: str) -> Runner:
    """The runner of that name.

    Raises:
      InputError: if there is none, with the nearest name.
    """
    if name not in RUNNERS:
        near = difflib.get_close_matches(name, RUNNERS, n=1, cutoff=0.0)[0]
        raise InputError(f"--runner={name}: no such runner; did you mean {near}?")
    return RUNNERS[name]
