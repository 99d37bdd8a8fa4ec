"""A store for pseudonymisers in one file, which all processes of a machine may share."""

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from cxtrace import _guard

if TYPE_CHECKING:
    from sqlite3 import Connection

_Done = TypeVar("_Done")

_BUSY: Final = 5.0
"""Seconds to wait for another process that writes."""

_left: Final[list[Any]] = []
"""Connections of a parent process: SQLite wants a child to neither use nor close them."""


class SQLiteStore:
    """Keeps salts, or random ids, in a file of SQLite.

    Threads may share it, and so may forked children and other processes of the machine. A network
    file system is no place for it.

    Args:
        path: The file. It is made where it is not there, readable for its owner alone.
    """

    __slots__ = ("__weakref__", "_connection", "_lock", "_path")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path).absolute()
        self._connection: Connection | None = None
        self._lock = threading.Lock()
        _guard.in_child_of(self, SQLiteStore._begin_anew)

    def __repr__(self) -> str:
        return f"SQLiteStore({str(self._path)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return SQLiteStore, (self._path,)

    def _begin_anew(self) -> None:
        _left.append(self._connection)
        self._connection = None
        self._lock = threading.Lock()

    def keep(self, names: Sequence[str], value: str) -> str:
        """The value that is kept under the first name; see ``cxtrace.typing.Store``.

        Raises:
            sqlite3.Error: The file cannot be used.
        """
        with self._lock:
            found = self._value(names[0])
            return self._moved(names, value) if found is None else found

    def delete(self, names: Sequence[str]) -> int:
        """Delete what is kept under any of the names, and overwrite its place in the file.

        Raises:
            sqlite3.Error: The file cannot be used; nothing is deleted then.
        """
        with self._lock:
            deleted = self._within(lambda db: _delete(db, names))
            # The log of SQLite still has the pages as they were.
            self._open().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            return deleted

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _moved(self, names: Sequence[str], value: str) -> str:
        def move(db: "Connection") -> str:
            for name in names:
                kept = self._value(name)
                if kept is not None:
                    db.execute("UPDATE cxtrace_ids SET name = ? WHERE name = ?", (names[0], name))
                    return kept
            db.execute("INSERT INTO cxtrace_ids VALUES (?, ?)", (names[0], value))
            return value

        return self._within(move)

    def _value(self, name: str) -> str | None:
        rows = self._open().execute("SELECT value FROM cxtrace_ids WHERE name = ?", (name,))
        found = rows.fetchall()
        return str(found[0][0]) if found else None

    def _within(self, work: "Callable[[Connection], _Done]") -> "_Done":
        """Do what must not be torn apart, while nobody else writes."""
        db = self._open()
        db.execute("BEGIN IMMEDIATE")
        try:
            done = work(db)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:  # SQLite may have ended it by itself
                db.execute("ROLLBACK")
            raise
        return done

    def _open(self) -> "Connection":
        if self._connection is None:
            import sqlite3  # not for those who have no store

            with suppress(FileExistsError):
                os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            opened = sqlite3.connect(
                self._path, timeout=_BUSY, isolation_level=None, check_same_thread=False
            )
            try:
                for command in _SET_UP:
                    opened.execute(command).fetchall()
            except BaseException:
                opened.close()
                raise
            self._connection = opened
        return self._connection


_SET_UP: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA secure_delete = ON",
    (
        "CREATE TABLE IF NOT EXISTS cxtrace_ids (name TEXT PRIMARY KEY, value TEXT NOT NULL)"
        " WITHOUT ROWID"
    ),
)


def _delete(db: "Connection", names: Sequence[str]) -> int:
    return sum(
        db.execute("DELETE FROM cxtrace_ids WHERE name = ?", (name,)).rowcount for name in names
    )
