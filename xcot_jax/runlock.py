"""One run at a time in a working directory.

On file systems the lock is the kernel's (`flock`) and goes with the process, however it ends; its
file only names who holds it. Object storage has no locks: there the holder renews a time stamp,
and a run that stopped renewing it long enough ago is taken for dead.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from etils import epath

from xcot_jax import distributed
from xcot_jax.errors import InputError

FILE = "run.lock"
"""In the working directory: who uses it, as JSON."""

RENEWED_EVERY, STALE_AFTER = 20.0, 120.0
"""Seconds, on object storage."""


@contextlib.contextmanager
def hold(workdir: epath.PathLike) -> Iterator[None]:
    """Makes a working directory, if need be, and keeps other runs out of it.

    Of several processes of one run, the first holds it.

    Raises:
      InputError: if another run is using it, or nothing can be written there; in all processes.
    """
    with contextlib.ExitStack() as held:
        problem = ""
        if distributed.is_main():
            take = _renewed if "://" in os.fspath(workdir) else _flocked
            try:
                held.enter_context(take(workdir))
            except InputError as error:
                problem = str(error)
            except OSError as error:
                problem = (
                    f"{os.fspath(workdir)}: cannot be written to ({error.strerror or error}); "
                    "choose another --workdir"
                )
        if problem := distributed.broadcast(problem):
            raise InputError(problem)
        yield


@contextlib.contextmanager
def _flocked(workdir: epath.PathLike) -> Iterator[None]:
    directory = Path(workdir)
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / FILE).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise InputError(_refusal(workdir, file.read(), "")) from None
        file.truncate(0)
        file.write(json.dumps(_me()) + "\n")
        file.flush()
        yield


@contextlib.contextmanager
def _renewed(workdir: epath.PathLike) -> Iterator[None]:
    path = epath.Path(workdir) / FILE
    me = _me() | {"token": uuid.uuid4().hex}
    found = path.read_text() if path.exists() else ""
    age = time.time() - _parsed(found).get("renewed", 0.0)
    if age < STALE_AFTER:
        wait = f", or wait {STALE_AFTER - age:.0f} seconds if it is dead"
        raise InputError(_refusal(workdir, found, wait))
    write = lambda: path.write_text(json.dumps(me | {"renewed": time.time()}) + "\n")
    write()
    over = threading.Event()

    def renew() -> None:
        while not over.wait(RENEWED_EVERY):
            with contextlib.suppress(OSError):  # A stamp may fail to come through now and then.
                write()

    renewer = threading.Thread(target=renew, name="renew the run's lock", daemon=True)
    renewer.start()
    try:
        yield
    finally:
        over.set()
        renewer.join()
        with contextlib.suppress(OSError):
            path.unlink()


def _me() -> dict[str, Any]:
    since = datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
    return {"host": socket.gethostname(), "pid": os.getpid(), "since": since}


def _parsed(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _refusal(workdir: epath.PathLike, text: str, wait: str) -> str:
    who = _parsed(text)
    host, pid, since = (who.get(key, "?") for key in ("host", "pid", "since"))
    return (
        f"{os.fspath(workdir)} is in use: process {pid} on {host} has been training there since "
        f"{since}. Stop that one (kill {pid}, on {host}; it saves first){wait}, or choose another "
        "--workdir"
    )
