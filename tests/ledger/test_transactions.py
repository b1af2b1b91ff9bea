"""Transactions: whole or not at all, one writer after the other, and errors in words of our own."""

from __future__ import annotations

import functools
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Column, Connection, Integer, MetaData, String, Table, insert, select, text, update

from ledger.conftest import Open, state_of, together
from rounds.demo.ports import pick_port
from rounds.errors import CollectorError, ConfigError
from rounds.fields import Secret
from rounds.ledger.ledger import Ledger
from rounds.ledger.schema import Schema
from rounds.ledger.settings import State

SUMS = Table(
    "sums_one",
    MetaData(),
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("value", Integer, nullable=False),
    Column("name", String(20)),
)
SCHEMA = Schema("sums", SUMS.metadata)
NAME = "Maria da Silva"


@pytest.fixture
def ledger(state: State, opened: Open) -> Ledger:
    """One with two rows."""
    found = opened(state, SCHEMA)
    with found.writing() as connection:
        connection.execute(insert(SUMS), [{"id": 1, "value": 0}, {"id": 2, "value": 0}])
    return found


def values(ledger: Ledger) -> list[int]:
    with ledger.reading() as connection:
        return list(connection.execute(select(SUMS.c.value).order_by(SUMS.c.id)).scalars())


def add(connection: Connection, number: int, value: int) -> None:
    connection.execute(update(SUMS).where(SUMS.c.id == number).values(value=SUMS.c.value + value))


class OopsError(Exception):
    """A fault of a run's own."""


def fails(connection: Connection) -> None:
    add(connection, 1, 1)
    raise OopsError


def wrong(connection: Connection) -> None:
    add(connection, 1, 1)
    connection.execute(text("SELECT * FROM nowhere"))


def test_all_or_nothing(ledger: Ledger) -> None:
    with ledger.writing() as connection:
        add(connection, 1, 5)
        add(connection, 2, 5)
    with pytest.raises(OopsError), ledger.writing() as connection:
        fails(connection)
    with pytest.raises(CollectorError), ledger.writing() as connection:
        wrong(connection)
    assert values(ledger) == [5, 5]
    assert ledger.commits == 2
    assert ledger.last_commit is not None


def test_texts_and_zero_are_the_same_everywhere(ledger: Ledger) -> None:
    names = ["Zoe", "zoe", "Zoë", "\U0001f600 \\'\"%s"]
    with ledger.writing() as connection:
        connection.execute(insert(SUMS), [{"id": at + 10, "value": 0, "name": name} for at, name in enumerate(names)])
        connection.execute(insert(SUMS).values(id=0, value=9))
    assert values(ledger)[0] == 9
    with ledger.reading() as connection:
        for name in names:
            assert list(connection.execute(select(SUMS.c.name).where(SUMS.c.name == name)).scalars()) == [name]


@pytest.mark.parametrize("place", ["mariadb", "postgresql"])
def test_a_value_that_does_not_fit_is_refused_not_cut(
    place: str, tmp_path: Path, opened: Open, request: pytest.FixtureRequest
) -> None:
    ledger = opened(state_of(place, tmp_path, request), SCHEMA)
    with pytest.raises(CollectorError, match="a value that is too large"), ledger.writing() as connection:
        connection.execute(insert(SUMS).values(id=5, value=1, name="x" * 21))
    assert values(ledger) == []


def test_a_reader_sees_one_state(ledger: Ledger) -> None:
    with ledger.reading() as reader:
        query = select(SUMS.c.value).where(SUMS.c.id == 1)
        assert reader.execute(query).scalar() == 0
        with ledger.writing() as connection:
            add(connection, 1, 5)
        assert reader.execute(query).scalar() == 0
    assert values(ledger) == [5, 0]


def test_writers_follow_one_another_and_lose_nothing(ledger: Ledger, state: State, opened: Open) -> None:
    """Each reads, computes and writes, as runs do; half of them through another ledger, as another process would."""
    other = opened(state, SCHEMA)

    def work(mine: Ledger) -> None:
        for _ in range(10):
            with mine.writing() as connection:
                before = connection.execute(select(SUMS.c.value).where(SUMS.c.id == 1)).scalar_one()
                connection.execute(update(SUMS).where(SUMS.c.id == 1).values(value=before + 1))

    together(*(functools.partial(work, each) for each in (ledger, other) * 3))
    assert values(ledger) == [60, 0]


def test_a_job_that_writes_for_too_long_fails_the_others_with_a_reason(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rounds.ledger.ledger.LOCK_WITHIN", 0.05)
    with ledger.writing() as connection:
        add(connection, 1, 5)
        with pytest.raises(CollectorError, match="another job has been writing to the ledger"), ledger.writing():
            pass
        assert values(ledger) == [0, 0]
    assert values(ledger) == [5, 0]


def test_a_closed_ledger_begins_nothing(ledger: Ledger) -> None:
    with ledger.writing() as connection:
        add(connection, 1, 5)
        ledger.close()
        add(connection, 2, 5)
    with pytest.raises(CollectorError, match="has been closed"), ledger.writing():
        pass


def test_errors_tell_the_kind_but_no_value(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    told = []
    for statement in (
        insert(SUMS).values(id=1, value=0, name=NAME),
        text("INSERT INTO sums_one (id, value, name) VALUES (1, 2, '" + NAME + "')"),
        text("SELECT '" + NAME + "' FROM nowhere"),
        insert(SUMS).values(id=9, name=NAME),
    ):
        with pytest.raises(CollectorError) as caught, ledger.writing() as connection:
            connection.execute(statement)
        assert caught.value.reason == "internal"
        assert not ledger.up
        told.append(str(caught.value))
    assert NAME not in " ".join(told)
    assert told[0] == "the ledger refused a row that contradicts another"
    assert "refused a statement" in told[2]
    assert not [record for record in caplog.records if NAME in record.getMessage()]
    assert values(ledger) == [0, 0]
    assert ledger.up


@pytest.mark.parametrize("place", ["mariadb", "postgresql"])
def test_connections_that_the_server_ended_are_replaced(
    place: str, tmp_path: Path, opened: Open, request: pytest.FixtureRequest
) -> None:
    state = state_of(place, tmp_path, request)
    ledger = opened(state, SCHEMA)
    server = request.getfixturevalue(place)

    def end_connections() -> None:
        database = state.url.rpartition("/")[2]
        if place == "postgresql":
            server.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")
            return
        found = server.sql(f"SELECT id FROM information_schema.processlist WHERE db = '{database}'")
        server.sql(*(f"KILL {number}" for (number,) in found))

    with ledger.writing() as connection:
        connection.execute(insert(SUMS), [{"id": 1, "value": 0}])
    end_connections()
    assert values(ledger) == [0]

    def is_interrupted(connection: Connection) -> None:
        add(connection, 1, 5)
        end_connections()
        add(connection, 1, 5)

    with pytest.raises(CollectorError, match="its server ended the connection"), ledger.writing() as connection:
        is_interrupted(connection)
    assert not ledger.up
    with ledger.writing() as connection:
        add(connection, 1, 7)
    assert values(ledger) == [7]
    assert ledger.up


@contextmanager
def forwarding(port: int, target: int) -> Iterator[None]:
    """Whatever connects to one port reaches another."""

    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        for each in (source, sink):
            each.close()

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", target))
            for pair in ((client, server), (server, client)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    with closing(socket.create_server(("127.0.0.1", port))) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.mark.parametrize("place", ["mariadb", "postgresql"])
def test_a_server_that_does_not_answer_at_the_start_is_tried_again(
    place: str, tmp_path: Path, opened: Open, request: pytest.FixtureRequest
) -> None:
    state = state_of(place, tmp_path, request)
    server, port = request.getfixturevalue(place), pick_port()
    away = state.model_copy(update={"url": re.sub(r":\d+/", f":{port}/", state.url)})
    ledger = opened(away, SCHEMA)
    assert not ledger.up
    with pytest.raises(CollectorError, match="does not answer"), ledger.writing():
        pass
    with forwarding(port, server.port):
        with ledger.writing() as connection:
            connection.execute(insert(SUMS), [{"id": 1, "value": 3}])
        assert values(ledger) == [3]
        assert ledger.up
        assert ledger.created is not None
        ledger.close()


def write(ledger: Ledger) -> str:
    with pytest.raises(CollectorError) as caught, ledger.writing() as connection:
        connection.execute(insert(SUMS), [{"id": number, "value": 0, "name": "x" * 20} for number in range(10, 9000)])
    return str(caught.value)


def pragma(ledger: Ledger, text_of: str) -> None:
    """Set something in the connection that the next transaction uses."""
    with ledger._store.engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA {text_of}")


def test_what_sqlite_cannot_do_is_told(sqlite_state: State, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rounds.ledger.sqlite.LOCK_WITHIN", 0.05)
    ledger = opened(sqlite_state, SCHEMA)
    pragma(ledger, "max_page_count = 20")
    assert write(ledger) == "the ledger cannot be written: no space is left"
    pragma(ledger, "max_page_count = 100000")
    pragma(ledger, "query_only = 1")
    assert write(ledger) == "the ledger cannot be written: it is read-only"
    pragma(ledger, "query_only = 0")
    other = opened(sqlite_state, SCHEMA)
    with other.writing():
        assert write(ledger).startswith("the ledger is locked")
    with ledger.writing() as connection:
        connection.execute(insert(SUMS), [{"id": 1, "value": 3}])
    assert values(ledger) == [3]


def test_a_file_that_was_replaced_in_use_is_noticed(sqlite_state: State, opened: Open) -> None:
    ledger = opened(sqlite_state, SCHEMA)
    assert sqlite_state.path is not None
    sqlite_state.path.rename(f"{sqlite_state.path}.away")
    with pytest.raises(CollectorError, match="moved or replaced"), ledger.writing():
        pass
    assert not ledger.up


def test_a_wrong_password_is_told_at_once(tmp_path: Path, opened: Open, request: pytest.FixtureRequest) -> None:
    for place in ("mariadb", "postgresql"):
        state = state_of(place, tmp_path, request)
        wrong = state.model_copy(update={"password": Secret("s3cr3t")})
        with pytest.raises(ConfigError, match=r"^state\.url: the ledger refuses the login") as caught:
            opened(wrong)
        assert "s3cr3t" not in str(caught.value)
        nowhere = state.model_copy(update={"url": state.url + "_not"})
        with pytest.raises(ConfigError, match="there is no such database"):
            opened(nowhere)


ADDS = """
import sys
from ledger.test_transactions import SCHEMA, add
from rounds.ledger.ledger import open_ledger
from rounds.ledger.settings import State
ledger = open_ledger(State.model_validate({"url": sys.argv[1]}), [SCHEMA])
for _ in range(50):
    with ledger.writing() as connection:
        add(connection, 1, 1)
        add(connection, 2, 1)
"""


def test_processes_may_write_at_once(sqlite_state: State, opened: Open) -> None:
    ledger = opened(sqlite_state, SCHEMA)
    with ledger.writing() as connection:
        connection.execute(insert(SUMS), [{"id": 1, "value": 0}, {"id": 2, "value": 0}])
    command = [sys.executable, "-c", ADDS, sqlite_state.url]
    children = [subprocess.Popen(command, env={"PYTHONPATH": ":".join(sys.path)}) for _ in range(2)]
    assert [child.wait(60) for child in children] == [0, 0]
    assert values(ledger) == [100, 100]
