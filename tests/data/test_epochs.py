"""Epochs become steps: as many as the loader takes to read every record so many times."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.corpus import group
from xcot_jax.data import epochs
from xcot_jax.data.loader import Loader
from xcot_jax.errors import InputError
from xcot_jax.settings import DataSettings, Settings, TrainSettings

DATA = DataSettings(row_tokens=224, row_slots=80, batch_rows=4, packing_bins=8, students=2)
SETTINGS = Settings(data=DATA, train=TrainSettings(epochs=3.0))
GROUPS = [group(n, students=1 + n % 2, preamble=n % 3 == 0) for n in range(400)]


def test_the_steps_read_every_record_so_many_times(tokenizer):
    steps = epochs.resolve(SETTINGS, tokenizer, GROUPS).train.steps
    loader = Loader(SETTINGS, tokenizer, GROUPS)
    read = np.concatenate([next(loader).rows["records"].reshape(-1) for _ in range(steps)])
    assert (read >= 0).sum() == pytest.approx(3 * len(GROUPS), rel=0.03)


def test_the_number_does_not_change(tokenizer):
    assert epochs.resolve(SETTINGS, tokenizer, GROUPS) == epochs.resolve(
        SETTINGS, tokenizer, GROUPS
    )


def test_a_sample_tells_nearly_as_much_as_all(tokenizer, monkeypatch):
    whole = epochs.rows_per_group(SETTINGS, tokenizer, GROUPS)
    monkeypatch.setattr(epochs, "_SAMPLE", 130)
    assert epochs.rows_per_group(SETTINGS, tokenizer, GROUPS) == pytest.approx(whole, rel=0.05)


def test_groups_longer_than_a_row_take_none(tokenizer):
    short = dataclasses.replace(DATA, row_tokens=100)
    kept = [
        g for g in GROUPS if not (len(g.students) == 2 or any(view.preamble for view in g.students))
    ]
    mixed = epochs.rows_per_group(dataclasses.replace(SETTINGS, data=short), tokenizer, GROUPS)
    alone = epochs.rows_per_group(dataclasses.replace(SETTINGS, data=short), tokenizer, kept)
    assert 0 < mixed < alone
    tiny = dataclasses.replace(SETTINGS, data=dataclasses.replace(DATA, row_tokens=8))
    with pytest.raises(InputError, match=r"raise them"):
        epochs.resolve(tiny, tokenizer, GROUPS)


def test_without_epochs_the_steps_stand(tokenizer):
    settings = Settings(data=DATA)
    assert epochs.resolve(settings, tokenizer, GROUPS) is settings
