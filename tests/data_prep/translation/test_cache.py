"""The cache of translations: what is stored is found, whole, by whoever opens the file next."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.translation.cache import Cache
from data_prep.translation.requests import Request
from tests.data_prep.translation import workers
from tests.data_prep.translation.workers import REQUEST
from xcot_jax.errors import InputError

# Not forked from here, where JAX has threads; the server of forks is light.
processes = multiprocessing.get_context("forkserver")

texts = st.text(st.characters(exclude_categories=["Cs"]))
requests = st.builds(Request, texts, st.sampled_from(["en", "de"]), st.sampled_from(["sw", "te"]))


@given(st.dictionaries(st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), requests), texts))
def test_what_is_stored_is_found_by_the_same_back_end_and_request_only(tmp_path_factory, stored):
    path = tmp_path_factory.mktemp("cache") / "c.sqlite"
    makers = {(name, what): Cache(path, name, what) for name in "ab" for what in "xy"}
    for (name, what, request), translation in stored.items():
        makers[name, what].store(request, translation)
    for cache in makers.values():
        cache.close()
    for name, what in makers:
        cache = Cache(path, name, what)
        own = {r: t for (n, w, r), t in stored.items() if (n, w) == (name, what)}
        assert len(cache) == len(own)
        for _, _, request in stored:
            assert cache.find(request) == own.get(request)
        cache.close()


def test_parts_of_a_key_do_not_run_together(tmp_path):
    one = Cache(tmp_path / "c", "ab", "c")
    one.store(Request("b", "en", "sw"), "x")
    assert Cache(tmp_path / "c", "a", "bc").find(Request("b", "en", "sw")) is None
    assert one.find(Request("b", "e", "nsw")) is None


def test_a_later_translation_replaces_an_earlier_one(tmp_path):
    cache = Cache(tmp_path / "deep" / "er" / "c.sqlite", "a", "x")
    cache.store(REQUEST, "one")
    cache.store(REQUEST, "two")
    assert cache.find(REQUEST) == "two" and len(cache) == 1


def test_a_closed_cache_is_one_file(tmp_path):
    cache = Cache(tmp_path / "c.sqlite", "a", "x")
    with cache.writing():
        cache.store(REQUEST, "one")
    cache.close()
    cache.close()
    assert [path.name for path in tmp_path.iterdir()] == ["c.sqlite"]


@pytest.mark.parametrize("content", [b"not a database, but some text that is long enough\n" * 99])
def test_another_file_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "c.sqlite"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"c\.sqlite.*prep\.translate\.cache"):
        Cache(path, "a", "x")
    assert path.read_bytes() == content


def test_another_database_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "c.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE translations (a)")
    database.close()
    content = path.read_bytes()
    with pytest.raises(InputError, match="no cache of translations"):
        Cache(path, "a", "x")
    assert path.read_bytes() == content


def test_a_cache_of_another_version_is_refused(tmp_path):
    path = tmp_path / "c.sqlite"
    Cache(path, "a", "x").close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(InputError, match="this version"):
        Cache(path, "a", "x")


def test_a_directory_is_no_cache(tmp_path):
    with pytest.raises(InputError, match="prep.translate.cache"):
        Cache(tmp_path, "a", "x")


def test_many_processes_may_open_a_new_cache_at_once(tmp_path):
    path = tmp_path / "c.sqlite"
    started = [
        processes.Process(target=workers.open_and_store, args=(path, n), daemon=True)
        for n in range(8)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join()
    assert [process.exitcode for process in started] == [0] * 8
    assert len(Cache(path, "a", "x")) == 8


@pytest.mark.parametrize("count", [0, 1, 57, 400])
def test_a_killed_process_loses_nothing_it_stored(tmp_path, count):
    path = tmp_path / "c.sqlite"
    receiver, sender = processes.Pipe(duplex=False)
    process = processes.Process(target=workers.store_forever, args=(path, sender), daemon=True)
    process.start()
    last = -1
    while last < count:
        last = receiver.recv()
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    while receiver.poll():
        last = receiver.recv()
    cache = Cache(path, "a", "x")
    for number in range(last + 1):
        assert cache.find(Request(str(number), "en", "sw")) == f"{number} " * 500
    assert len(cache) in (last + 1, last + 2)  # One may be stored and not yet told.
    cache.close()
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    database.close()


@pytest.mark.parametrize("killed", [False, True])
def test_a_second_writer_waits_for_the_first_and_finds_its_work(tmp_path, killed):
    log = tmp_path / "log"
    path = tmp_path / "c.sqlite"
    began, end = processes.Event(), processes.Event()
    first = processes.Process(target=workers.hold, args=(path, began, end), daemon=True)
    first.start()
    began.wait()
    receiver, sender = processes.Pipe(duplex=False)
    second = processes.Process(target=workers.wait_and_find, args=(path, sender, log), daemon=True)
    second.start()
    while second.is_alive() and not (log.exists() and log.read_text().endswith("\n")):
        time.sleep(0.01)
    told = log.read_text()
    assert f"{path}: waiting for process {first.pid}" in told
    assert not receiver.poll(0.1)
    if killed:
        os.kill(first.pid, signal.SIGKILL)
    else:
        end.set()
    assert receiver.recv() == (None if killed else "from the other process")
    first.join()
    second.join()
    assert second.exitcode == 0
    assert not list(tmp_path.glob("*.lock"))


def test_one_process_writes_at_a_time(tmp_path):
    counter = tmp_path / "counter"
    counter.write_text("0")
    path = tmp_path / "c.sqlite"
    started = [
        processes.Process(target=workers.take_turns, args=(path, counter), daemon=True)
        for _ in range(4)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join()
    assert [process.exitcode for process in started] == [0] * 4
    assert counter.read_text() == "120"
