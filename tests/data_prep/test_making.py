"""Workers and runner change nothing: the same records, in the same places."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time

import numpy as np
import pytest

from data_prep import making
from data_prep.data_card import Tally
from data_prep.groups import make_context, make_group, plan
from data_prep.making import Order, Work, make
from tests.data_prep.test_groups import LEXICON, POOL, problem, settings
from xcot_jax.data.records import decode
from xcot_jax.errors import InputError


@pytest.fixture(scope="module")
def works():
    run = settings(2, repeat=3, instruct=0, xicl=1, random_cot=1, demonstrations=1)
    context = make_context(run, LEXICON, POOL)
    languages = (("en", "de", "sw", "th"), ("en",), ("de", "bn"), ("en", "zh", "te"), ("fr",))
    problems = [problem(f"q{n}", languages[n % 5]) for n in range(200)]
    return {
        "train": Work("train", problems, context),
        "validation": Work("validation", problems[:30], context),
    }


def made_with(works, workers, chunk=making.CHUNK):
    tally = Tally()
    orders = {split: Order(work) for split, work in works.items()}
    streams = make(works, orders, workers, tally, chunk)
    return {split: list(stream) for split, stream in streams.items()}, tally.card()


def test_the_order_names_every_task_once(works):
    work = works["train"]
    planned = [
        (n, k) for n, p in enumerate(work.problems) for k in range(len(plan(p, work.context)))
    ]
    order = Order(work)
    parts = list(order.chunks(7))
    named = [
        pair
        for part in parts
        for pair in zip(part.problems.tolist(), part.tasks.tolist(), strict=True)
    ]
    assert sorted(named) == planned
    assert named != planned
    assert len(order) == len(planned)
    assert [part.first for part in parts] == list(range(0, len(planned), 7))
    # Problems in no wanted language are counted.
    narrow = settings(2, languages=("en", "sw"))
    asked = Work("train", work.problems, make_context(narrow, LEXICON, POOL))
    assert Order(asked).unasked == sum(not {"en", "sw"} & set(p.question) for p in work.problems)


def test_records_are_the_groups_of_the_tasks_in_order(works):
    records, card = made_with(works, 1)
    work = works["train"]
    for part in Order(work).chunks():
        for place, (n, k) in enumerate(
            zip(part.problems.tolist(), part.tasks.tolist(), strict=True), part.first
        ):
            expected = make_group(plan(work.problems[n], work.context)[k], work.context)
            found = dict(records["train"]).get(place)
            if isinstance(expected, str):
                assert found is None
            else:
                assert decode(found) == expected.group
    assert card["groups"] == {split: len(found) for split, found in records.items()}
    assert sum(card["dropped"].values()) > 0


def test_workers_and_chunks_change_nothing(works):
    expected = made_with(works, 1)
    assert made_with(works, 2) == expected
    assert made_with(works, 3, chunk=5) == expected
    assert made_with(works, 1, chunk=1) == expected


def test_seed_changes_the_order(works):
    def order(seed):
        context = make_context(settings(2, seed=seed), LEXICON, POOL)
        (part,) = Order(Work("train", works["train"].problems[:20], context)).chunks(1_000)
        return np.stack([part.problems, part.tasks])

    assert not np.array_equal(order(0), order(1))


def test_a_dead_worker_is_an_error(works):
    def kill_one():
        deadline = time.monotonic() + 60
        while not multiprocessing.active_children() and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    with pytest.raises(InputError, match="a worker process died"):
        made_with(works, 2)
    killer.join()
