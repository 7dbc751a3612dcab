"""Translations already made, in a SQLite file: what is stored survives whatever ends the run."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from data_prep.translation.requests import Request
from xcot_jax.errors import InputError

_APPLICATION = 0x78434F54  # "xCOT", in the file's header: tells this cache from other databases.
_VERSION = 1
_TABLE = """
CREATE TABLE translations (
  key BLOB PRIMARY KEY,
  maker BLOB NOT NULL,
  source TEXT NOT NULL,
  target TEXT NOT NULL,
  text TEXT NOT NULL,
  translation TEXT NOT NULL
);
CREATE INDEX translations_by_maker ON translations (maker);
"""


class Cache:
    """The translations one back end has made, among those of others in the same file.

    Each is committed by itself: a killed process loses none that `store` returned from, and its
    file opens again. Several processes may read; `writing` keeps a second writer waiting. The file
    belongs on a local disk, as SQLite's write-ahead log does.
    """

    def __init__(self, path: Path, backend: str, identity: str) -> None:
        """Opens the file, or makes it.

        Args:
          path: the file; its directory is made if need be.
          backend: name of the back end.
          identity: what else its translations depend on; others are not found.

        Raises:
          InputError: if the file is something else, or cannot be opened.
        """
        self.path = path
        self._maker = _digest(backend, identity)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._database: sqlite3.Connection | None = None
        try:
            self._database = sqlite3.connect(
                path, timeout=30, isolation_level=None, check_same_thread=False
            )
            self._prepare(self._database)
        except sqlite3.Error as error:
            self.close()
            raise InputError(
                f"{path}: cannot be used as a cache of translations ({error}); give another file "
                "in prep.translate.cache, or move this one away"
            ) from error
        except InputError:
            self.close()
            raise

    def _prepare(self, database: sqlite3.Connection) -> None:
        # A foreign file is recognised before anything is written to it.
        with _transaction(database, "DEFERRED"):
            new = self._is_new(database)
        database.execute("PRAGMA journal_mode = WAL")
        # A commit then waits for no disk. A lost machine may lose the last ones, never the file.
        database.execute("PRAGMA synchronous = NORMAL")
        if new:
            # Whole or not at all: this process may be killed here, or another have been faster.
            with _transaction(database, "IMMEDIATE"):
                if self._is_new(database):
                    for statement in _TABLE.split(";"):
                        database.execute(statement)
                    database.execute(f"PRAGMA user_version = {_VERSION}")
                    database.execute(f"PRAGMA application_id = {_APPLICATION}")

    def _is_new(self, database: sqlite3.Connection) -> bool:
        """Whether the file is empty; in a transaction, as others may be filling it.

        Raises:
          InputError: if it is neither empty nor such a cache.
        """
        (application,) = database.execute("PRAGMA application_id").fetchone()
        (version,) = database.execute("PRAGMA user_version").fetchone()
        (tables,) = database.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        if not application and not tables:
            return True
        if (application, version) != (_APPLICATION, _VERSION):
            raise InputError(
                f"{self.path}: a database, but no cache of translations of this version; give "
                "another file in prep.translate.cache, or move this one away"
            )
        return False

    def find(self, request: Request) -> str | None:
        """The translation, if there is one."""
        row = self._connection.execute(
            "SELECT translation FROM translations WHERE key = ?", (self._key(request),)
        ).fetchone()
        return None if row is None else row[0]

    def store(self, request: Request, translation: str) -> None:
        """Keeps a translation, from now on."""
        self._connection.execute(
            "INSERT OR REPLACE INTO translations VALUES (?, ?, ?, ?, ?, ?)",
            (
                self._key(request),
                self._maker,
                request.source,
                request.target,
                request.text,
                translation,
            ),
        )

    def __len__(self) -> int:
        """How many translations of this back end there are."""
        query = "SELECT COUNT(*) FROM translations WHERE maker = ?"
        return self._connection.execute(query, (self._maker,)).fetchone()[0]

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Waits until no other process translates into the file, and keeps others waiting.

        So two runs with one cache do not pay twice for what both need.
        """
        path = self.path.with_name(self.path.name + ".lock")
        file = _locked(path)
        try:
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield
        finally:
            path.unlink(missing_ok=True)  # Before it is released: see _locked.
            file.close()

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._database is None:
            raise ValueError(f"{self.path} is closed")
        return self._database

    def _key(self, request: Request) -> bytes:
        return hashlib.sha256(
            self._maker + _digest(request.source, request.target, request.text)
        ).digest()

    def close(self) -> None:
        """Closes the file."""
        if self._database is not None:
            self._database.close()
            self._database = None


@contextlib.contextmanager
def _transaction(database: sqlite3.Connection, kind: str) -> Iterator[None]:
    database.execute(f"BEGIN {kind}")
    with database:  # Commits, or rolls back on an error.
        yield


def _locked(path: Path) -> IO[str]:
    """The lock file, open and locked; the system unlocks it however this process ends."""
    told = False
    while True:
        file = path.open("a+", encoding="utf-8")
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not told:
                    file.seek(0)
                    who = file.read(20) or "unknown"
                    print(f"{path.with_suffix('')}: waiting for process {who} to translate")
                    told = True
                fcntl.flock(file, fcntl.LOCK_EX)
            # The last holder has removed its file: a lock counts only on the one that is there.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    return file
        except BaseException:
            file.close()
            raise
        file.close()


def _digest(*parts: str) -> bytes:
    return hashlib.sha256(json.dumps(parts).encode()).digest()
