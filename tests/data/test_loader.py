"""The input pipeline: exact resume, hosts that share nothing, nothing left out in silence."""

from __future__ import annotations

import dataclasses
import itertools
import json

import numpy as np
import pytest

from tests.chat_models import CHATML, save
from tests.corpus import group
from xcot_jax import sharding
from xcot_jax.data.dataset import write_dataset
from xcot_jax.data.loader import (
    Loader,
    evaluation_batches,
    find_tokenizer,
    fingerprints,
    stream_count,
)
from xcot_jax.data.packing import NO_LANGUAGE
from xcot_jax.data.tfrecord import CorruptRecordError
from xcot_jax.errors import InputError
from xcot_jax.settings import DataSettings, MeshSettings, Settings

DATA = DataSettings(row_tokens=224, row_slots=80, batch_rows=4, packing_bins=8, students=2)
SETTINGS = Settings(data=DATA)
GROUPS = [group(n, students=1 + n % 2, preamble=n % 3 == 0) for n in range(40)]


def loader(tokenizer, settings=SETTINGS, groups=GROUPS, **hosts):
    return Loader(settings, tokenizer, groups, **hosts)


def take(batches, count):
    return list(itertools.islice(batches, count))


def same(a, b):
    return all(np.array_equal(a.rows[name], b.rows[name]) for name in a.rows)


def records(batches):
    numbers = np.concatenate([batch.rows["records"].reshape(-1) for batch in batches])
    return numbers[numbers >= 0]


def test_the_same_seed_gives_the_same_batches_and_another_seed_others(tokenizer):
    first, second = take(loader(tokenizer), 12), take(loader(tokenizer), 12)
    assert all(same(a, b) for a, b in zip(first, second, strict=True))
    other = dataclasses.replace(SETTINGS, seed=1)
    assert not all(
        same(a, b) for a, b in zip(first, take(loader(tokenizer, other), 12), strict=True)
    )


@pytest.mark.parametrize("stop", [1, 7, 13])
def test_resume_continues_with_the_very_next_batch(tokenizer, stop):
    whole = take(loader(tokenizer), 20)
    # The state survives a checkpoint as JSON.
    state = json.loads(json.dumps(whole[stop - 1].state))
    resumed = loader(tokenizer)
    resumed.restore(state)
    for a, b in zip(whole[stop:], take(resumed, 20 - stop), strict=True):
        assert same(a, b)
        assert a.fingerprint() == b.fingerprint()
    assert len(json.dumps(state)) < 1000


def test_an_epoch_shows_every_group_once_in_an_order_of_its_own(tokenizer):
    seen = records(take(loader(tokenizer), 40))
    first, second = seen[:40], seen[40:80]
    # Rows leave the packer in shuffled order, a few groups around the border excepted.
    assert len(set(first)) >= 30
    counts = np.bincount(seen, minlength=40)
    assert counts.min() >= counts.max() - 2
    assert not np.array_equal(first, second)


def with_data(**changes):
    return dataclasses.replace(SETTINGS, data=dataclasses.replace(DATA, **changes))


STREAMS = with_data(batch_rows=12, streams=4)


@pytest.mark.parametrize("hosts", [[range(6), range(6, 12)], [range(0, 12, 2), range(1, 12, 2)]])
def test_hosts_together_make_the_batches_of_one(tokenizer, hosts):
    whole = take(loader(tokenizer, STREAMS), 8)
    parts = [take(loader(tokenizer, STREAMS, numbers=numbers), 8) for numbers in hosts]
    for batch, *own in zip(whole, *parts, strict=True):
        for part, numbers in zip(own, hosts, strict=True):
            for name, rows in part.rows.items():
                assert np.array_equal(rows, batch.rows[name][list(numbers)])


def test_a_host_reads_the_records_of_its_own_streams_alone(tokenizer):
    read = set()

    class Noted(list):
        def __getitem__(self, index):
            read.add(index)
            return super().__getitem__(index)

    groups = [group(n, students=2) for n in range(400)]
    settings = with_data(batch_rows=12, streams=4, packing_bins=1, prefetch=1)
    next(loader(tokenizer, settings, Noted(groups), numbers=range(3)))
    assert 10 < len(read) <= 100


@pytest.mark.parametrize("after", [[range(12)], [range(3 * n, 3 * n + 3) for n in range(4)]])
def test_other_numbers_of_hosts_continue_in_the_same_order(tokenizer, after):
    whole = take(loader(tokenizer, STREAMS), 16)
    hosts = [take(loader(tokenizer, STREAMS, numbers=range(n, n + 6)), 9)[-1] for n in (0, 6)]
    state = json.loads(json.dumps(hosts[0].state | hosts[1].state))
    for numbers in after:
        resumed = loader(tokenizer, STREAMS, numbers=numbers)
        resumed.restore(state)
        for batch, part in zip(whole[9:], take(resumed, 7), strict=True):
            assert np.array_equal(part.rows["tokens"], batch.rows["tokens"][list(numbers)])
    with pytest.raises(InputError, match="no state of input stream 2"):
        loader(tokenizer, STREAMS).restore(hosts[0].state)


@pytest.mark.parametrize("streams", [1, 3, 8])
@pytest.mark.parametrize("count", [1, 5, 40])
def test_no_group_is_dropped_or_doubled_where_groups_do_not_divide(tokenizer, streams, count):
    settings = with_data(batch_rows=24, streams=streams, packing_bins=1)
    batches = take(loader(tokenizer, settings, GROUPS[:count]), 12)
    rows = 24 // streams
    by_stream = [
        [n for b in batches for n in b.rows["records"][s * rows : (s + 1) * rows].flat if n >= 0]
        for s in range(streams)
    ]
    # The streams hold the endless sequence of epochs in turn; two epochs of it are complete here.
    sequence = [by_stream[i % streams][i // streams] for i in range(2 * count)]
    assert sorted(sequence[:count]) == sorted(sequence[count:]) == list(range(count))


def test_every_four_rows_have_a_stream_and_rows_divide_by_streams(tokenizer):
    counts = [stream_count(dataclasses.replace(DATA, batch_rows=n)) for n in (1, 2, 6, 8, 10, 64)]
    assert counts == [1, 1, 1, 2, 2, 16]
    with pytest.raises(InputError, match="data.batch_rows=4 does not divide by data.streams=3"):
        loader(tokenizer, with_data(streams=3))
    with pytest.raises(InputError, match="no groups"):
        loader(tokenizer, groups=[])


def test_rows_reach_the_devices_that_hold_them(tokenizer):
    mesh = sharding.make_mesh(MeshSettings(data=2, fsdp=2, tensor=2))
    where = sharding.batch_sharding(mesh)
    assert sharding.held_rows(where, 12) == list(range(12))
    batch = next(loader(tokenizer, STREAMS))
    placed = batch.place(where)
    assert np.array_equal(placed.tokens, batch.rows["tokens"])
    assert {shard.data.shape[0] for shard in placed.tokens.addressable_shards} == {3}


def test_groups_longer_than_a_row_are_counted_or_an_error(tokenizer):
    long = dataclasses.replace(GROUPS[0], id="long", answer="So 1. " * 200)
    batches = loader(tokenizer, groups=[*GROUPS[1:8], long])
    seen = records(take(batches, 20))
    assert batches.dropped.ids == {"long"}
    assert 7 not in seen and set(seen) == set(range(7))
    strict = dataclasses.replace(SETTINGS, data=dataclasses.replace(DATA, overlong="error"))
    with pytest.raises(InputError, match="group long has .*data.row_tokens"):
        take(loader(tokenizer, strict, groups=[*GROUPS[1:8], long]), 20)


def test_rows_too_short_for_every_group_are_an_error_rather_than_a_wait(tokenizer):
    short = dataclasses.replace(SETTINGS, data=dataclasses.replace(DATA, row_tokens=16))
    with pytest.raises(InputError, match="like all 40 groups.*data.row_tokens=16"):
        next(loader(tokenizer, short))


def test_evaluation_batches_hold_a_split_once(tokenizer, tmp_path):
    write_dataset(tmp_path, {"train": GROUPS[:1], "validation": GROUPS}, 1)
    settings = dataclasses.replace(SETTINGS, data=dataclasses.replace(DATA, dir=str(tmp_path)))
    batches = evaluation_batches(settings, tokenizer, "validation", 100)
    numbers = np.concatenate([batch["records"].reshape(-1) for batch in batches])
    assert sorted(numbers[numbers >= 0]) == list(range(40))
    assert all(batch["tokens"].shape == (4, 224) for batch in batches)
    # The rows that fill the last batch train and measure nothing.
    empty = batches[-1]["segment_ids"].max(axis=1) == 0
    assert (batches[-1]["ce_weight"][empty] == 0).all()
    assert (batches[-1]["languages"][empty] == NO_LANGUAGE).all()
    assert len(evaluation_batches(settings, tokenizer, "validation", 2)) == 2


def test_a_flipped_byte_stops_the_loader_and_says_where(tokenizer, tmp_path):
    write_dataset(tmp_path, {"train": GROUPS}, 1)
    shard = tmp_path / "xcot-train.tfrecord-00000-of-00001"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 0x10
    shard.write_bytes(content)
    settings = dataclasses.replace(SETTINGS, data=dataclasses.replace(DATA, dir=str(tmp_path)))
    with pytest.raises(CorruptRecordError, match=rf"{shard.name}.*record \d+.*byte \d+"):
        take(Loader(settings, tokenizer), 20)


def test_the_settings_choose_whether_prompts_are_messages(tmp_path):
    directory = str(save(CHATML, tmp_path))
    found = {
        chat: find_tokenizer(Settings(data=DataSettings(tokenizer=directory, chat=chat)))
        for chat in ("auto", "always", "never")
    }
    assert found["auto"].chat == found["always"].chat is not None
    assert found["never"].chat is None
    prints = {chat: fingerprints(SETTINGS, t)["tokenizer"] for chat, t in found.items()}
    assert prints["auto"] == prints["always"] != prints["never"]
    with pytest.raises(InputError, match="data.chat"):
        plain = str(save(CHATML, tmp_path / "plain", template=""))
        find_tokenizer(Settings(data=DataSettings(tokenizer=plain, chat="always")))


def test_a_dataset_without_tokenizer_is_an_error_with_the_way_out(tmp_path):
    settings = dataclasses.replace(SETTINGS, data=DataSettings(dir=str(tmp_path)))
    with pytest.raises(InputError, match="data.tokenizer"):
        find_tokenizer(settings)
