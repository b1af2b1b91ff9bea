"""Opens a store to be read, and changes nothing about it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Seconds to wait for another program's lock.
_LOCK_WITHIN = 5.0


@contextmanager
def reading(path: Path | str) -> Iterator[sqlite3.Connection]:
    """A connection that reads the file as it is at one moment.

    Raises:
        FileNotFoundError: there is no such file.
        sqlite3.Error: it cannot be opened, or is no database.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(2, "there is no such file", str(path))
    connection = _open(path)
    try:
        # What is no text stays readable, so that a row of another program ends no report.
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
        yield connection
    finally:
        connection.close()


def tables(connection: sqlite3.Connection) -> frozenset[str]:
    """The names of its tables."""
    return frozenset(name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'"))


def _open(path: Path) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode=ro"
    try:
        return _begin(uri)
    except sqlite3.OperationalError:
        # A file in WAL mode is opened with help of a second one, which cannot be made where the folder must not be
        # written to. Where no log is left, all there is stands in the file itself.
        wal = path.with_name(f"{path.name}-wal")
        if wal.exists() and wal.stat().st_size:
            raise
        return _begin(f"{uri}&immutable=1")


def _begin(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=_LOCK_WITHIN, isolation_level=None)
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # from here on it is one moment's
    except BaseException:
        connection.close()
        raise
    return connection
