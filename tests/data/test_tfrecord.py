"""Dataset directories: whole or absent, every damage named, and readable by TensorFlow Datasets."""

from __future__ import annotations

import copy
import itertools
import os
import pickle
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import grain
import pytest

from xcot_jax.data.dataset import INFO_FILE, read_splits, write_dataset
from xcot_jax.data.records import ParallelGroup, Switch, View, encode
from xcot_jax.data.source import GroupSource
from xcot_jax.data.tfrecord import CorruptRecordError, Shard, ShardWriter, frame, masked_crc
from xcot_jax.errors import InputError


def make_group(number: int) -> ParallelGroup:
    """Groups with 0 to 2 students, with and without a teacher, switches, and several scripts."""
    switches = tuple(Switch(i, i + 1, "小明\n") for i in range(number % 3))
    views = [
        View(code, f"{number} চা কত?\n", "ชา\n" if number % 2 else "", switches)
        for code in ("en", "bn", "th")[: number % 4]
    ]
    teacher = views.pop(0) if views and number % 5 else None
    return ParallelGroup(f"g{number}", "xicl", f"so {number}.", teacher, tuple(views))


def bytes_of(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_masked_crc_of_a_published_vector():
    # RFC 3720, B.4: CRC-32C of 32 zero bytes is 0x8a9136aa.
    crc = 0x8A9136AA
    assert masked_crc(bytes(32)) == ((crc >> 15 | crc << 17 & 0xFFFFFFFF) + 0xA282EAD8) % 2**32


@pytest.mark.parametrize("shards", [1, 3, 7])
def test_what_was_written_is_read(tmp_path, shards):
    groups = [make_group(n) for n in range(20)]
    counts = write_dataset(
        tmp_path, {"train": iter(groups), "validation": groups[:2]}, {"train": shards}
    )
    assert counts == {"train": 20, "validation": 2}
    source = GroupSource(tmp_path, "train")
    assert isinstance(source, grain.sources.RandomAccessDataSource)
    dealt = itertools.chain.from_iterable(groups[shard::shards] for shard in range(shards))
    assert [source[i] for i in range(len(source))] == list(dealt)
    assert list(GroupSource(tmp_path, "validation")) == groups[:2]
    assert str(tmp_path) in repr(source)
    for index in (-1, 20):
        with pytest.raises(IndexError):
            source[index]


def test_fewer_groups_than_shards_leave_no_empty_shard(tmp_path):
    write_dataset(tmp_path, {"train": [make_group(n) for n in range(3)]}, 8)
    assert read_splits(tmp_path)["train"].lengths == (1, 1, 1)
    assert len(GroupSource(tmp_path, "train")) == 3


def test_same_groups_give_same_bytes_over_whatever_was_there(tmp_path):
    groups = [make_group(n) for n in range(20)]
    write_dataset(tmp_path / "a", {"train": groups}, 3)
    write_dataset(tmp_path / "b", {"train": groups[3:], "validation": groups}, 5)
    (tmp_path / "b" / ".xcot-train-00009.tmp").write_bytes(b"left by an interrupted run")
    write_dataset(tmp_path / "b", {"train": copy.deepcopy(groups)}, 3)
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")


def test_an_error_while_writing_leaves_nothing(tmp_path):
    def broken():
        yield make_group(1)
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        write_dataset(tmp_path, {"train": broken()}, 2)
    assert list(tmp_path.iterdir()) == []


def test_an_error_while_writing_keeps_the_old_dataset(tmp_path):
    write_dataset(tmp_path, {"train": [make_group(n) for n in range(9)]}, 2)
    before = bytes_of(tmp_path)
    with pytest.raises(InputError, match="'validation' has no groups"):
        write_dataset(tmp_path, {"train": [make_group(1)], "validation": []})
    assert bytes_of(tmp_path) == before


KILLED = """
import sys, time
sys.path.insert(0, {tests!r})
from test_tfrecord import make_group
from xcot_jax.data.dataset import write_dataset
def groups():
    for number in range(5000):
        yield make_group(number)
    print("underway", flush=True)
    time.sleep(60)
write_dataset({directory!r}, {{"train": groups()}}, 3)
"""


def test_kill_while_writing_leaves_no_final_name_and_the_rerun_cleans_up(tmp_path):
    code = KILLED.format(tests=os.path.dirname(__file__), directory=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"underway\n"
        writer.kill()
    left = {path.name for path in tmp_path.iterdir()}
    assert left
    assert all(name.startswith(".xcot-train-") and name.endswith(".tmp") for name in left)
    with pytest.raises(InputError, match="interrupted"):
        GroupSource(tmp_path, "train")
    groups = [make_group(n) for n in range(10)]
    write_dataset(tmp_path, {"train": groups}, 2)
    write_dataset(tmp_path / "undisturbed", {"train": groups}, 2)
    expected = bytes_of(tmp_path / "undisturbed")
    assert {n: (tmp_path / n).read_bytes() for n in expected} == expected
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("completed", range(3))
def test_interruption_while_renaming_never_looks_complete(tmp_path, monkeypatch, completed):
    write_dataset(tmp_path, {"train": [make_group(n) for n in range(9)]}, 3)
    commit = ShardWriter.commit
    calls = itertools.count()

    def interrupted(self, path):
        if next(calls) == completed:
            raise KeyboardInterrupt
        commit(self, path)

    monkeypatch.setattr(ShardWriter, "commit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path, {"train": [make_group(n) for n in range(30)]}, 3)
    assert not (tmp_path / INFO_FILE).exists()
    for path in tmp_path.glob("xcot-*"):
        Shard(path, 10)  # what has its name is whole


@pytest.fixture
def shard(tmp_path):
    """One shard of four groups: its path and where its records begin."""
    groups = [make_group(n) for n in range(4)]
    write_dataset(tmp_path, {"train": groups})
    [path] = tmp_path.glob("xcot-train*")
    starts = itertools.accumulate((len(frame(encode(g))) for g in groups), initial=0)
    return path, list(starts)


def read_all(path):
    opened = Shard(path, 4)
    return [opened.read(number) for number in range(4)]


def test_every_flipped_byte_is_named(shard):
    path, starts = shard
    content = path.read_bytes()
    for position in range(len(content)):
        for flip in (0x01, 0x80, 0xFF):
            damaged = bytearray(content)
            damaged[position] ^= flip
            path.write_bytes(damaged)
            with pytest.raises(CorruptRecordError) as caught:
                read_all(path)
            error = caught.value
            assert starts[error.record] <= position < starts[error.record + 1]
            assert (error.shard, error.offset) == (str(path), starts[error.record])


def test_every_cut_is_named(shard):
    path, starts = shard
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        with pytest.raises(CorruptRecordError) as caught:
            read_all(path)
        assert starts[caught.value.record] <= size < starts[caught.value.record + 1]


@pytest.mark.parametrize("part", ["length", "checksum of length", "data", "checksum of data"])
def test_a_source_names_shard_record_and_offset(tmp_path, shard, part):
    path, starts = shard
    position = {"length": 0, "checksum of length": 8, "data": 40, "checksum of data": -1}[part]
    position += starts[3] if position < 0 else starts[2]
    damaged = bytearray(path.read_bytes())
    damaged[position] ^= 0x10
    path.write_bytes(damaged)
    with pytest.raises(CorruptRecordError) as caught:
        list(GroupSource(tmp_path, "train"))
    assert f"{path}: record 2 at byte {starts[2]}: " in str(caught.value)


def test_a_record_too_many_and_a_foreign_record_are_named(tmp_path):
    groups = [make_group(n) for n in range(4)]
    write_dataset(tmp_path, {"train": groups})
    [path] = tmp_path.glob("xcot-train*")
    content = path.read_bytes()
    path.write_bytes(content + frame(b""))
    with pytest.raises(CorruptRecordError, match=rf"record 4 at byte {len(content)}: follows"):
        GroupSource(tmp_path, "train")
    first = len(frame(encode(groups[0])))
    path.write_bytes(frame(b"something else") + content[first:])
    with pytest.raises(CorruptRecordError, match="record 0 at byte 0: .*not a ParallelGroup"):
        GroupSource(tmp_path, "train")[0]


def test_a_file_damaged_after_opening_is_noticed(tmp_path):
    write_dataset(tmp_path, {"train": [make_group(n) for n in range(4)]})
    source = GroupSource(tmp_path, "train")
    [path] = tmp_path.glob("xcot-train*")
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1)
    assert source[2] == make_group(2)
    with pytest.raises(CorruptRecordError, match="record 3"):
        source[3]


def test_missing_shards_are_all_named_before_any_is_read(tmp_path):
    write_dataset(tmp_path, {"train": [make_group(n) for n in range(8)]}, 4)
    shards = sorted(tmp_path.glob("xcot-train*"))
    shards[0].write_bytes(b"damaged")
    shards[1].unlink()
    shards[3].unlink()
    with pytest.raises(InputError) as caught:
        GroupSource(tmp_path, "train")
    assert shards[1].name in str(caught.value)
    assert shards[3].name in str(caught.value)


def test_not_a_dataset_says_so(tmp_path):
    with pytest.raises(InputError, match=INFO_FILE):
        GroupSource(tmp_path, "train")
    with pytest.raises(InputError, match="local disk"):
        GroupSource("gs://bucket/data", "train")
    write_dataset(tmp_path, {"train": [make_group(1)]})
    with pytest.raises(InputError, match="no split 'test', only train"):
        GroupSource(tmp_path, "test")
    info = tmp_path / INFO_FILE
    info.write_text(info.read_text().replace('"1.0.0"', '"2.0.0"'))
    with pytest.raises(InputError, match=r"version '2\.0\.0'"):
        GroupSource(tmp_path, "train")
    info.write_text("{")
    with pytest.raises(InputError, match="not the JSON of a dataset"):
        GroupSource(tmp_path, "train")


@pytest.mark.parametrize(
    ("splits", "shards"),
    [({"a/b": [make_group(1)]}, 1), ({"train": [make_group(1)]}, 0), ({"train": []}, 1)],
)
def test_bad_requests_are_refused(tmp_path, splits, shards):
    with pytest.raises(InputError, match=f"split '{next(iter(splits))}'"):
        write_dataset(tmp_path, splits, shards)


def test_threads_forks_and_pickles_read_alike(tmp_path):
    groups = [make_group(n) for n in range(64)]
    write_dataset(tmp_path, {"train": groups})
    source = GroupSource(tmp_path, "train")
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(source.__getitem__, range(64))) == groups
    assert list(pickle.loads(pickle.dumps(source))) == groups
    error = pickle.loads(pickle.dumps(CorruptRecordError("s", 1, 2, "p")))
    assert (error.shard, error.record, error.offset, error.problem) == ("s", 1, 2, "p")


def test_a_fork_reads_alike(tmp_path):
    write_dataset(tmp_path, {"train": [make_group(n) for n in range(64)]})
    code = (
        "import os, sys; from xcot_jax.data.source import GroupSource;"
        f"source = GroupSource({str(tmp_path)!r}, 'train'); child = os.fork();"
        "same = [source[i].id for i in range(64)] == [f'g{i}' for i in range(64)];"
        "os._exit(not same) if not child else sys.exit(not same or os.waitpid(child, 0)[1])"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_length_beyond_the_file_is_not_followed(tmp_path):
    length = struct.pack("<Q", 2**63)
    path = tmp_path / "shard"
    path.write_bytes(length + struct.pack("<I", masked_crc(length)) + bytes(64))
    with pytest.raises(CorruptRecordError, match="cut short"):
        Shard(path, 1)


def test_training_side_imports_no_tensorflow(tmp_path):
    write_dataset(tmp_path, {"train": [make_group(1)]})
    code = (
        "import sys; from xcot_jax.data.source import GroupSource;"
        "from xcot_jax.data.dataset import write_dataset;"
        f"source = GroupSource({str(tmp_path)!r}, 'train');"
        f"write_dataset({str(tmp_path / 'copy')!r}, {{'train': list(source)}});"
        "assert not {'tensorflow', 'torch', 'jax'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_tensorflow_datasets_reads_the_same_groups(tmp_path):
    pytest.importorskip("tensorflow")
    import tensorflow_datasets as tfds

    groups = [make_group(n) for n in range(50)]
    write_dataset(tmp_path, {"train": groups, "validation": groups[:3]}, 4)
    builder = tfds.builder_from_directory(str(tmp_path))
    assert builder.info.full_name == "xcot/1.0.0"
    assert builder.info.splits["train"].num_examples == 50
    assert builder.info.splits["validation"].num_shards == 3
    read = [_from_tfds(e) for e in tfds.as_numpy(builder.as_dataset(split="train"))]
    assert sorted(read, key=lambda g: int(g.id[1:])) == groups


def test_tensorflow_datasets_reads_what_xcot_prep_wrote(dataset):
    pytest.importorskip("tensorflow")
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(str(dataset))
    for split, content in builder.as_dataset().items():
        source = GroupSource(dataset, split)
        groups = {group.id: group for group in (source[n] for n in range(len(source)))}
        read = [_from_tfds(example) for example in tfds.as_numpy(content)]
        assert len(read) == len(groups)
        assert {group.id: group for group in read} == groups


def _from_tfds(example) -> ParallelGroup:
    columns = example["switches"]
    switches = [
        (view, Switch(int(start), int(end), source.decode()))
        for view, start, end, source in zip(
            columns["view"], columns["start"], columns["end"], columns["source"], strict=True
        )
    ]
    columns = example["views"]
    views: list[View] = []
    for texts in zip(columns["language"], columns["prompt"], columns["preamble"], strict=True):
        language, prompt, preamble = (text.decode() for text in texts)
        own = tuple(switch for view, switch in switches if view == len(views))
        views.append(View(language, prompt, preamble, own))
    teacher = views.pop(0) if example["has_teacher"] else None
    id, recipe, answer = (example[name].decode() for name in ("id", "recipe", "answer"))
    return ParallelGroup(id, recipe, answer, teacher, tuple(views))
