"""A sample of a dataset shows all there is, and is the same each time."""

from __future__ import annotations

import shutil
from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep.preview.sample import draw
from xcot_jax.data.dataset import write_dataset
from xcot_jax.data.records import ParallelGroup, View
from xcot_jax.data.source import GroupSource

ENGLISH = View("en", "Question: 3 apples?\nAnswer:\n")

_groups = st.lists(
    st.tuples(
        st.sampled_from("abc"), st.lists(st.sampled_from(["de", "th", "sw", "bn"]), min_size=1)
    ),
    min_size=1,
    max_size=30,
)


@given(train=_groups, validation=_groups, count=st.integers(1, 40), seed=st.integers(0, 3))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_sample_represents_all(tmp_path, train, validation, count, seed):
    def made(kinds):
        return [
            ParallelGroup(str(n), recipe, "1.", ENGLISH, tuple(View(c, "?\n") for c in codes))
            for n, (recipe, codes) in enumerate(kinds)
        ]

    splits = {"train": made(train), "validation": made(validation)}
    write_dataset(tmp_path, splits)
    sample = draw(tmp_path, count, seed=seed)
    assert sample == draw(tmp_path, count, seed=seed)
    assert len({(d.split, d.index) for d in sample.groups}) == len(sample.groups)
    assert len(sample.groups) == min(count, len(train) + len(validation))
    for drawn in sample.groups:
        assert splits[drawn.split][drawn.index] == drawn.group
    if count >= len(sample.cells):
        shown = {
            (d.split, d.group.recipe, v.language) for d in sample.groups for v in d.group.students
        }
        assert shown == {cell for cell in sample.cells if cell[1]}
    only = [d.group for d in draw(tmp_path, count, recipe=train[0][0], seed=seed).groups]
    assert {group.recipe for group in only} == {train[0][0]}


def test_a_data_card_saves_reading_all(dataset, tmp_path, monkeypatch):
    bare = shutil.copytree(dataset, tmp_path / "bare", ignore=shutil.ignore_patterns("*card.json"))
    reads = Counter()
    get = GroupSource.__getitem__
    monkeypatch.setattr(
        GroupSource, "__getitem__", lambda self, at: reads.update([self.directory]) or get(self, at)
    )
    with_card, without = draw(dataset, 5), draw(bare, 5)
    assert with_card.cells == without.cells
    assert reads[bare] == sum(without.sizes.values())
    assert reads[dataset] < reads[bare]
