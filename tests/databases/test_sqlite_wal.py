"""SQLite files in WAL mode that a reader may not write beside: whole ones are read, others are refused."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from support.forking import CONTEXT
from support.processes import folder
from support.sqlite_reading import as_nobody


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that a child may read, and not write to."""
    with folder("wal-") as path:
        path.chmod(0o755)
        with closing(sqlite3.connect(path / "s.db", isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("CREATE TABLE t (a)")
            connection.execute("INSERT INTO t VALUES (1)")
        yield path
        path.chmod(0o755)


class Reader:
    """A child that reads as nobody."""

    def __init__(self, path: Path) -> None:
        path.chmod(0o555)
        self.pipe, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=as_nobody, args=(path, theirs), daemon=True)
        self.process.start()
        theirs.close()

    def told(self) -> object:
        assert self.pipe.poll(30)
        return self.pipe.recv()

    def again(self) -> object:
        """Let it read again, in the same session."""
        self.pipe.send(True)
        return self.told()


def test_a_file_that_nobody_has_open_is_read(place: Path) -> None:
    reader = Reader(place)
    assert reader.told() == [[(1,)], [(1,)]]
    assert sorted(each.name for each in place.iterdir()) == ["s.db"], "nothing was made"
    reader.process.kill()


def test_a_file_that_has_an_empty_log_is_read(place: Path) -> None:
    (place / "s.db-wal").touch()
    assert Reader(place).told() == [[(1,)], [(1,)]]


def test_a_file_that_somebody_has_open_is_read_with_its_log(place: Path) -> None:
    with closing(sqlite3.connect(place / "s.db", isolation_level=None)) as connection:
        connection.execute("INSERT INTO t VALUES (2)")
        assert Reader(place).told() == [[(1,), (2,)], [(1,), (2,)]]


def test_a_file_whose_log_was_left_behind_is_refused(place: Path) -> None:
    """It lacks what is in the log, which cannot be read without an -shm file."""
    with closing(sqlite3.connect(place / "s.db", isolation_level=None)) as connection:
        connection.execute("INSERT INTO t VALUES (2)")
        left = (place / "s.db-wal").read_bytes()
    (place / "s.db-wal").write_bytes(left)
    told = Reader(place).told()
    assert isinstance(told, str)
    assert told.startswith("connect: source 's': ")
    (place / "s.db-wal").unlink()
    place.chmod(0o755)


def test_a_file_that_is_written_meanwhile_fails(place: Path) -> None:
    reader = Reader(place)
    assert reader.told() == [[(1,)], [(1,)]]
    assert reader.again() == [(1,)]
    assert reader.told() == [(1,)]
    place.chmod(0o755)
    with closing(sqlite3.connect(place / "s.db", isolation_level=None)) as connection:
        connection.execute("INSERT INTO t VALUES (2)")
        assert "changed while it was read" in str(reader.again()), "a log has come"
    assert "changed while it was read" in str(reader.again()), "the file itself has changed"
    reader.process.kill()
    assert Reader(place).told() == [[(1,), (2,)], [(1,), (2,)]], "the next session finds it as it is"
