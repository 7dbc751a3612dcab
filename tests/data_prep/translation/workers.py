"""What processes of the tests do with one cache of translations."""

from __future__ import annotations

import contextlib
import time

from data_prep.translation.cache import Cache
from data_prep.translation.requests import Request

REQUEST = Request("How many?", "en", "sw")


def open_and_store(path, number):
    cache = Cache(path, "a", "x")
    cache.store(Request(str(number), "en", "sw"), str(number))
    cache.close()


def store_forever(path, sender):
    cache = Cache(path, "a", "x")
    for number in range(1_000_000):
        cache.store(Request(str(number), "en", "sw"), f"{number} " * 500)
        sender.send(number)


def hold(path, began, end):
    cache = Cache(path, "a", "x")
    with cache.writing():
        began.set()
        end.wait()
        cache.store(REQUEST, "from the other process")


def take_turns(path, counter):
    cache = Cache(path, "a", "x")
    for _ in range(30):
        with cache.writing():
            number = int(counter.read_text())
            time.sleep(0.0005)
            counter.write_text(str(number + 1))


def wait_and_find(path, sender, log):
    cache = Cache(path, "a", "x")
    assert cache.find(REQUEST) is None  # Reading does not wait.
    with (
        log.open("w", buffering=1) as file,
        contextlib.redirect_stdout(file),
        cache.writing(),
    ):
        sender.send(cache.find(REQUEST))
