"""A pure function over a stream of items, by this process or by several, in the items' order."""

from __future__ import annotations

import collections
import concurrent.futures
import itertools
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from xcot_jax.errors import InputError

State = TypeVar("State")
Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    function: Callable[[State, Item], Result],
    state: State,
    items: Iterable[Item],
    workers: int,
) -> Iterator[Result]:
    """Yields `function(state, item)` of each item, in order, a few items ahead of the reader.

    Args:
      function: at the top of a module, so that other processes find it.
      state: what all calls share; each worker gets it once.
      items: taken as the results are.
      workers: processes; 1: this one alone.

    Raises:
      InputError: if a worker dies.
    """
    if workers == 1:
        yield from (function(state, item) for item in items)
        return
    others = set(multiprocessing.active_children())
    pool = concurrent.futures.ProcessPoolExecutor(
        workers,
        # Not forked: this process may have threads that hold locks.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(function, state),
    )
    waiting: collections.deque[concurrent.futures.Future[Result]] = collections.deque()
    try:
        for item in items:
            waiting.append(_submit(pool, item))
            if len(waiting) >= 4 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        # The pool ends its other workers, but not one that it was just starting.
        for worker in set(multiprocessing.active_children()) - others:
            worker.kill()
        raise InputError(
            "a worker process died, perhaps of too little memory; nothing was written. Try again "
            f"with fewer than prep.workers = {workers}"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _submit(pool: concurrent.futures.Executor, item: Any) -> concurrent.futures.Future:
    try:
        return pool.submit(_call, item)
    except OSError as error:
        # A pool that breaks closes its queue, even while it starts a worker that is to get it.
        raise BrokenProcessPool("a worker could not be started") from error


def count(asked: int, items: int, worthwhile: int) -> int:
    """How many workers to use: as many as asked for; for 0 one a core, as far as that is worth it.

    Args:
      asked: `prep.workers`.
      items: how many items there are.
      worthwhile: so many items cost as much as starting a worker.
    """
    return asked or max(min(os.cpu_count() or 1, items // worthwhile), 1)


def batches(items: Iterable[Item], size: int) -> Iterator[Sequence[Item]]:
    """The items, some at a time: what goes to a worker at once."""
    stream = iter(items)
    while batch := list(itertools.islice(stream, size)):
        yield batch


_work: tuple[Callable[[Any, Any], Any], Any] | None = None  # Of this process, if it is a worker.


def _start(function: Callable[[Any, Any], Any], state: Any) -> None:
    global _work
    _work = function, state
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this worker when the process that started it was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call(item: Any) -> Any:
    assert _work is not None
    function, state = _work
    return function(state, item)
