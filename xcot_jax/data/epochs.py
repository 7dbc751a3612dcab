"""How many steps a number of epochs is: rows that groups take, told by packing some of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import grain
import numpy as np

from xcot_jax.data import loader, packing
from xcot_jax.data.source import GroupSource
from xcot_jax.data.tokenizer import Tokenizer
from xcot_jax.settings import Settings

_SAMPLE = 2_048
_REPEATS = 8  # Rows still open at the end are as many however long the stream; they count less.


def resolve(
    settings: Settings, tokenizer: Tokenizer, source: loader.Groups | None = None
) -> Settings:
    """The settings with `train.steps` in place of `train.epochs`, if these are set.

    The same data, tokenizer and settings give the same number, on every host and whenever the run
    continues.

    Args:
      settings: of the run.
      tokenizer: of the run.
      source: records; those of the training split if None.

    Raises:
      InputError: if not one group fits into a row.
    """
    if not settings.train.epochs:
        return settings
    source = source if source is not None else GroupSource(Path(settings.data.dir), "train")
    rows = settings.train.epochs * len(source) * rows_per_group(settings, tokenizer, source)
    steps = max(1, round(rows / settings.data.batch_rows))
    return dataclasses.replace(settings, train=dataclasses.replace(settings.train, steps=steps))


def rows_per_group(settings: Settings, tokenizer: Tokenizer, source: loader.Groups) -> float:
    """Packed rows that a group takes on average, those longer than a row taking none.

    Of a large source an evenly spread sample is packed.
    """
    data = settings.data
    numbers = np.linspace(0, len(source), min(_SAMPLE, len(source)), endpoint=False, dtype=np.int64)
    encode = loader.EncodeGroups(tokenizer, settings, loader.DropCounter(), len(numbers))
    encoded = [encode.map_with_index(0, (int(n), source[int(n)])) for n in numbers]
    kept = [element for element in encoded if element is not None]
    repeated = grain.MapDataset.source(kept).shuffle(seed=settings.seed).repeat(_REPEATS)
    packed = packing.pack(
        repeated.to_iter_dataset(),
        row_tokens=data.row_tokens,
        row_slots=data.row_slots,
        bins=data.packing_bins,
        seed=settings.seed,
    )
    return sum(1 for _ in packed) / (_REPEATS * len(numbers))
