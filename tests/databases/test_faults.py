"""What goes wrong with a source: reason, words, and nothing of what the driver said."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rounds.databases.session import Session
from rounds.errors import CollectorError
from rounds.sources import Source
from support.databases import SqliteFiles, databases_for
from support.fakesnow import FakesnowServer
from support.mariadb import MariadbServer
from support.postgresql import PostgresqlServer
from support.waiting import eventually

ODD = "{p@:/?#%\"'$\\} é€😀 x"
#: What stands in rows, statements and settings of these tests, and must be in no message.
PLANTED = ("Jane", "Doe", "p-w-d", ODD)


def failing(source: Source, statement: str | None = None, parameters: Any = (), **options: Any) -> tuple[str, str]:
    """Reason and message of what goes wrong when a session is opened, or a statement is run in it."""
    databases = databases_for({"s": source})

    def attempt() -> None:
        with databases.open("s", **options) as session:
            session.all(statement or "SELECT 'the session was opened'", parameters)

    with pytest.raises(CollectorError) as caught:
        attempt()
    message = str(caught.value)
    assert message.startswith("source 's': ")
    assert not [text for text in PLANTED if text in message]
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__, "a traceback must not quote the driver"
    if statement is None:
        assert databases.health["s"].up is False
    return caught.value.reason, message


def unused_port() -> int:
    with closing(socket.socket()) as candidate:
        candidate.bind(("127.0.0.1", 0))
        return int(candidate.getsockname()[1])


@pytest.fixture
def silent_port() -> Any:
    """A port that accepts connections and says nothing."""
    with closing(socket.socket()) as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


# --- MariaDB ---


@pytest.fixture(scope="module")
def clinic(mariadb: MariadbServer) -> str:
    """A database with a user who may read one column of a table, and one who may not read anything."""
    name = mariadb.create_database("faults")
    quoted = ODD.replace("\\", "\\\\").replace("'", "''")
    mariadb.sql(
        "CREATE TABLE t (id int, name varchar(50), secret varchar(50))",
        "INSERT INTO t VALUES (1, 'Jane Doe', 'x')",
        "CREATE TABLE u (id int)",
        f"CREATE USER reader@'127.0.0.1' IDENTIFIED BY '{quoted}'",
        f"GRANT SELECT (id, name) ON {name}.t TO reader@'127.0.0.1'",
        "CREATE USER locked@'127.0.0.1' IDENTIFIED BY 'p-w-d' ACCOUNT LOCK",
        "CREATE USER expired@'127.0.0.1' IDENTIFIED BY 'p-w-d' PASSWORD EXPIRE",
        f"GRANT SELECT ON {name}.t TO expired@'127.0.0.1'",
        database=name,
    )
    return name


@pytest.mark.parametrize(
    ("keys", "statement", "reason", "words"),
    [
        ({"password": "wrong p-w-d"}, None, "auth", ("wrong user or password", "MariaDB error 1045")),
        ({"user": "nobody"}, None, "auth", ("wrong user or password", "1045")),
        ({"user": "locked", "password": "p-w-d"}, None, "auth", ("locked", "4151")),
        ({"user": "expired", "password": "p-w-d"}, None, "auth", ("expired", "1820")),
        ({"database": "mysql"}, None, "auth", ("no access to the database", "1044", "grant")),
        ({"user": "root", "password": None, "database": "none"}, None, "connect", ("database does not exist", "1049")),
        ({}, "SELECT id FROM u", "auth", ("privilege", "1142", "grant it SELECT")),
        ({}, "SELECT secret FROM t", "auth", ("privilege", "1143")),
        ({"user": "root", "password": None}, "SELECT * FROM gone", "query", ("table or view", "1146")),
        ({}, "SELECT gone FROM t WHERE name = 'Jane'", "auth", ("privilege",)),
        ({"user": "root", "password": None}, "SELECT gone FROM t", "query", ("column does not exist", "1054")),
        ({}, "SELEC 'Jane'", "query", ("not understood", "1064")),
        ({"user": "root", "password": None}, "KILL QUERY CONNECTION_ID()", "query", ("killed", "1317")),
    ],
)
def test_faults_of_mariadb(  # noqa: PLR0917
    mariadb: MariadbServer, clinic: str, keys: dict[str, Any], statement: str | None, reason: str, words: tuple[str]
) -> None:
    given = {"user": "reader", "password": ODD, "database": clinic, **keys}
    if given["password"] is None:
        del given["password"]
    found = failing(mariadb.source(given.pop("database"), **given), statement)
    assert found[0] == reason, found
    assert [word for word in words if word not in found[1]] == [], found


def test_a_wrong_column_of_mariadb_tells_nothing_of_the_statement(mariadb: MariadbServer, clinic: str) -> None:
    reason, message = failing(mariadb.source(clinic), "SELECT * FROM t WHERE name = CAST(%s AS no_type)", ("Jane",))
    assert (reason, "the statement failed" in message) == ("query", True), message


# --- PostgreSQL ---


@pytest.fixture(scope="module")
def hospital(postgresql: PostgresqlServer) -> str:
    name = postgresql.create_database("faults")
    closed = postgresql.create_database("closed")
    quoted = ODD.replace("'", "''")
    postgresql.sql(
        "CREATE TABLE t (id int, name text, secret text)",
        "INSERT INTO t VALUES (1, 'Jane Doe', 'x')",
        "CREATE TABLE u (id int)",
        f"CREATE USER reader PASSWORD '{quoted}'",
        "GRANT SELECT (id, name) ON t TO reader",
        f"REVOKE CONNECT ON DATABASE {closed} FROM PUBLIC",
        "CREATE USER expired PASSWORD 'p-w-d' VALID UNTIL '2001-01-01'",
        "CREATE USER limited PASSWORD 'p-w-d' CONNECTION LIMIT 0",
        "CREATE ROLE barred PASSWORD 'p-w-d'",
        database=name,
    )
    return name


@pytest.mark.parametrize(
    ("keys", "statement", "reason", "words"),
    [
        ({"password": "wrong p-w-d"}, None, "auth", ("access denied", "pg_hba.conf")),
        ({"user": "nobody"}, None, "auth", ("access denied",)),
        ({"user": "expired", "password": "p-w-d"}, None, "auth", ("access denied",)),
        ({"user": "barred", "password": "p-w-d"}, None, "auth", ("access denied",)),
        ({"user": "limited", "password": "p-w-d"}, None, "connect", ("no connection left",)),
        ({"database": "{closed}"}, None, "auth", ("no access to the database", "CONNECT")),
        ({"database": "none"}, None, "connect", ("database does not exist",)),
        ({}, "SELECT id FROM u", "auth", ("privilege", "SQLSTATE 42501", "grant it SELECT")),
        ({}, "SELECT secret FROM t", "auth", ("privilege", "42501")),
        ({}, "SELECT * FROM gone", "query", ("table or view", "42P01")),
        ({}, "SELECT gone FROM t WHERE name = 'Jane'", "query", ("column does not exist", "42703")),
        ({}, "SELECT gone(name) FROM t", "query", ("function does not exist", "42883")),
        ({}, "SELEC 'Jane'", "query", ("not understood", "42601")),
        ({}, "SELECT name::int FROM t", "query", ("failed", "22P02")),
        ({}, "SELECT pg_terminate_backend(pg_backend_pid())", "connect", ("ended by the server", "57P01")),
    ],
)
def test_faults_of_postgresql(  # noqa: PLR0917
    postgresql: PostgresqlServer,
    hospital: str,
    keys: dict[str, Any],
    statement: str | None,
    reason: str,
    words: tuple[str],
) -> None:
    given = {"user": "reader", "password": ODD, "database": hospital, **keys}
    database = given.pop("database").replace("{closed}", hospital.replace("faults", "closed"))
    if keys.get("database") == "{closed}":
        database = next(
            name for (name,) in postgresql.sql("SELECT datname FROM pg_database") if name.startswith("closed")
        )
    found = failing(postgresql.source(database, **given), statement)
    assert found[0] == reason, found
    assert [word for word in words if word not in found[1]] == [], found


def test_a_missing_driver_of_postgresql_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys  # noqa: PLC0415

    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "rounds.databases.postgresql", raising=False)
    source = PostgresqlServer(1, 0, Path()).source("x")
    assert failing(source) == (
        "connect",
        "source 's': the driver of PostgreSQL is not installed; run: pip install 'rounds-exporter[postgresql]'",
    )


# --- both: the network, odd passwords, killed and hung servers ---


@pytest.fixture(params=["mariadb", "postgresql"])
def place(request: pytest.FixtureRequest) -> tuple[Any, str]:
    name: str = request.getfixturevalue("clinic" if request.param == "mariadb" else "hospital")
    return request.getfixturevalue(request.param), name


def test_odd_passwords_and_their_files_work(place: tuple[Any, str], tmp_path: Path) -> None:
    server, name = place
    (tmp_path / "secret").write_text(ODD + "\n", encoding="utf-8")
    keys: list[dict[str, Any]] = [{"password": ODD}]
    for ways in keys:
        with databases_for({"s": server.source(name, user="reader", **ways)}).open("s") as session:
            assert session.all("SELECT name FROM t") == [("Jane Doe",)]


def test_nobody_listens(place: tuple[Any, str]) -> None:
    reason, message = failing(place[0].source(place[1], port=unused_port()))
    assert (reason, "nothing accepts connections" in message) == ("connect", True), message


def test_a_host_that_is_unknown(place: tuple[Any, str]) -> None:
    reason, message = failing(place[0].source(place[1], host="unknown.invalid"))
    assert (reason, "no address" in message) == ("connect", True), message


def test_a_server_that_accepts_and_says_nothing(
    place: tuple[Any, str], silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = place[0].source("x").kind
    monkeypatch.setattr(f"rounds.databases.{kind}.CONNECT_WITHIN", 2.0)
    started = time.monotonic()
    reason, message = failing(place[0].source(place[1], port=silent_port))
    assert (reason, "did not answer in time" in message) == ("timeout", True), message
    assert time.monotonic() - started < 4


def test_a_connection_that_is_killed_in_the_middle_of_a_statement(place: tuple[Any, str]) -> None:
    server, name = place
    kind = server.source(name).kind
    sleeps = "SELECT sleep(20)" if kind == "mariadb" else "SELECT pg_sleep(20)"
    find = (
        "SELECT id FROM information_schema.processlist WHERE info = 'SELECT sleep(20)'"
        if kind == "mariadb"
        else "SELECT pid FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(20)' AND state = 'active'"
    )
    databases = databases_for({"s": server.source(name)})
    found: list[CollectorError] = []

    def work() -> None:
        try:
            with databases.open("s") as session:
                session.all(sleeps)
        except CollectorError as error:
            found.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert eventually(lambda: bool(server.sql(find)))
    rows = server.sql(find)
    server.sql(f"KILL {rows[0][0]}" if kind == "mariadb" else f"SELECT pg_terminate_backend({rows[0][0]})")
    thread.join(5)
    assert [error.reason for error in found] == ["connect"], found
    assert databases.health["s"].up is False
    with databases.open("s") as session:
        assert session.all("SELECT 1") == [(1,)]
    assert databases.health["s"].up is True


@pytest.mark.parametrize("how", ["deadline", "cancel"])
def test_a_server_that_hangs_does_not_hold_the_thread(place: tuple[Any, str], how: str) -> None:
    server, name = place
    kind = server.source(name).kind
    session: Session = databases_for({"s": server.source(name)}).open("s", timeout=1 if how == "deadline" else 60)
    pid = server.pid
    if kind == "postgresql":
        pid = session.all("SELECT pg_backend_pid()")[0][0]
    os.kill(pid, signal.SIGSTOP)
    started = time.monotonic()
    try:
        timer = threading.Timer(0.3, session.cancel)
        if how == "cancel":
            timer.start()
        with pytest.raises(CollectorError) as caught:
            session.all("SELECT 2")
        took = time.monotonic() - started
    finally:
        os.kill(pid, signal.SIGCONT)
        session.close()
    assert caught.value.reason == "timeout"
    assert took < 4


# --- SQLite ---


@pytest.mark.parametrize(
    ("make", "statement", "reason", "words"),
    [
        (lambda path: None, None, "connect", ("cannot be opened", "SQLITE_CANTOPEN", "check path")),
        (lambda path: path.mkdir(), None, "connect", ("the file cannot be",)),
        (lambda path: path.write_bytes(b"Jane Doe, " * 100), None, "connect", ("no SQLite database", "NOTADB")),
        (sqlite3.connect, "SELECT * FROM gone", "query", ("table or view does not exist",)),
        (sqlite3.connect, "SELECT gone", "query", ("column does not exist",)),
        (sqlite3.connect, "SELECT gone(1)", "query", ("function does not exist",)),
        (sqlite3.connect, "SELEC 'Jane'", "query", ("not understood",)),
        (sqlite3.connect, "SELECT abs(-9223372036854775808)", "query", ("failed",)),
    ],
)
def test_faults_of_sqlite(
    tmp_path: Path, make: Callable[[Path], Any], statement: str | None, reason: str, words: tuple[str]
) -> None:
    path = tmp_path / "x.db"
    made = make(path)
    if isinstance(made, sqlite3.Connection):
        made.execute("PRAGMA user_version = 1")
        made.close()
    before = sorted(tmp_path.iterdir())
    found = failing(SqliteFiles(tmp_path).source("x.db"), statement)
    assert found[0] == reason, found
    assert [word for word in words if word not in found[1]] == [], found
    assert sorted(tmp_path.iterdir()) == before, "a file was made"


def test_a_locked_file_is_told_in_time(tmp_path: Path) -> None:
    files = SqliteFiles(tmp_path)
    name = files.create_database()
    with closing(sqlite3.connect(tmp_path / name, isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        started = time.monotonic()
        reason, message = failing(files.source(name))
    assert (reason, "locked" in message, "SQLITE_BUSY" in message) == ("timeout", True, True), message
    assert time.monotonic() - started < 3


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    files = SqliteFiles(tmp_path)
    name = files.create_database()
    files.sql(
        "CREATE TABLE t (a)", "INSERT INTO t SELECT hex(randomblob(4000)) FROM (SELECT 1 UNION SELECT 2)", database=name
    )
    raw = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(raw[:4096] + b"Jane" * 2000 + raw[12096:])
    reason, message = failing(files.source(name), "SELECT * FROM t")
    assert (reason, "damaged" in message) == ("query", True), message


# --- Snowflake ---


@pytest.mark.parametrize(
    ("code", "text", "words"),
    [
        ("390100", "Incorrect username or password was specified. Jane", ("wrong user or password", "390100")),
        ("390102", "User temporarily locked. Jane", ("locked", "390102")),
        ("390106", "Specified password has expired. Jane", ("expired", "390106")),
        ("390144", "JWT token is invalid. [Jane]", ("key pair is refused", "390144")),
        ("390189", "Role 'Jane' specified in the connect string does not exist", ("role does not exist", "390189")),
        ("390422", "Incoming request with IP/Token Jane is not allowed", ("network policy", "390422")),
        ("394400", "Programmatic access token is invalid. Jane", ("access token is invalid", "394400")),
        ("390999", "Something new. Jane", ("wrong user or password", "390999")),
    ],
)
def test_a_refused_login_of_snowflake_is_tried_once(
    fakesnow: FakesnowServer, code: str, text: str, words: tuple[str]
) -> None:
    with fakesnow.faults(login=[code, text]):
        reason, message = failing(fakesnow.source("x"))
        seen = fakesnow.seen()
    assert reason == "auth"
    assert [word for word in words if word not in message] == [], message
    assert seen["paths"] == {"/session/v1/login-request": 1}


@pytest.mark.parametrize("status", [403, 429, 500, 503])
def test_a_login_that_snowflake_does_not_answer_is_tried_once(fakesnow: FakesnowServer, status: int) -> None:
    with fakesnow.faults(status=status):
        reason, message = failing(fakesnow.source("x"))
        assert fakesnow.seen()["paths"] == {"/session/v1/login-request": 1}
    assert reason == "connect", message


@pytest.mark.parametrize(
    ("statement", "fault", "reason", "words"),
    [
        ("SELECT * FROM gone", None, "query", ("without its database or schema", "090106")),
        ("SELECT * FROM x.public.gone", None, "query", ("does not exist, or the role may not see", "002003", "USAGE")),
        ("SELEC 'Jane'", None, "query", ("not understood", "001003")),
        ("SELECT 1", ("000606", "57P03", "No active warehouse Jane"), "query", ("warehouse", "000606", "USAGE")),
        ("SELECT 1", ("000904", "42000", "invalid identifier 'JANE'"), "query", ("column", "000904")),
        ("SELECT 1", ("003001", "42501", "Insufficient privileges Jane"), "auth", ("privilege", "003001")),
        ("SELECT 1", ("000604", "57014", "SQL execution canceled Jane"), "timeout", ("cancelled", "000604")),
        ("SELECT 1", ("000630", "57014", "Statement reached its timeout Jane"), "timeout", ("timeout", "000630")),
        ("SELECT 1", ("090073", "57014", "Warehouse Jane cannot be resumed"), "query", ("resource monitor", "090073")),
        ("SELECT 1", ("123456", "XX000", "Something new Jane"), "query", ("failed", "123456")),
    ],
)
def test_faults_of_snowflake(
    fakesnow: FakesnowServer, statement: str, fault: tuple[str, str, str] | None, reason: str, words: tuple[str]
) -> None:
    name = fakesnow.create_database("faults")
    faults = []
    if fault:
        faults.append({"text": statement, "code": fault[0], "sqlstate": fault[1], "message": fault[2]})
    with fakesnow.faults(statements=faults):
        found = failing(fakesnow.source(name), statement)
    assert found[0] == reason, found
    assert [word for word in words if word not in found[1]] == [], found


@pytest.mark.parametrize(
    ("keys", "reason", "words"),
    [
        ({"port": "unused"}, "connect", "nothing accepts connections"),
        ({"host": "unknown.invalid"}, "connect", "no address"),
        ({"port": "silent"}, "timeout", "did not answer in time"),
    ],
)
def test_a_snowflake_that_cannot_be_reached(  # noqa: PLR0917
    fakesnow: FakesnowServer,
    silent_port: int,
    monkeypatch: pytest.MonkeyPatch,
    keys: dict[str, Any],
    reason: str,
    words: str,
) -> None:
    monkeypatch.setattr("rounds.databases.snowflake.CONNECT_WITHIN", 2.0)
    ports = {"unused": unused_port(), "silent": silent_port}
    started = time.monotonic()
    found = failing(fakesnow.source("x", **{key: ports.get(value, value) for key, value in keys.items()}))
    assert found[0] == reason, found
    assert words in found[1]
    assert time.monotonic() - started < 5


def test_a_key_that_is_none(fakesnow: FakesnowServer, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("Jane Doe", encoding="utf-8")
    reason, message = failing(fakesnow.source("x", private_key_file=tmp_path / "key"))
    assert (reason, "private key cannot be used" in message) == ("auth", True), message
