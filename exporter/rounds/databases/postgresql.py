"""Sessions with PostgreSQL."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import psycopg

from rounds.databases import faults, reaper
from rounds.databases.alchemy import AlchemySession
from rounds.databases.faults import Fault
from rounds.databases.health import Health
from rounds.databases.session import CONNECT_WITHIN, KILL_WITHIN, PATIENCE, Row
from rounds.errors import CollectorError
from rounds.sources import PostgresqlSource

#: Rows that are fetched at a time; they may be long.
_CHUNK = 100

_LOGIN = Fault(
    "auth",
    "access denied: wrong user or password, or no rule of pg_hba.conf for this machine",
    "check user and password, and pg_hba.conf",
)
_NOT_READY = ("57P03", "57P01", "57P02")
_FAULTS = {
    "28P01": _LOGIN,
    "28000": _LOGIN,
    "42501": faults.FORBIDDEN,
    "3D000": faults.NO_DATABASE,
    "42P01": faults.NO_TABLE,
    "3F000": faults.NO_TABLE,
    "42703": faults.NO_COLUMN,
    "42883": faults.NO_FUNCTION,
    "42601": faults.SYNTAX,
    "25006": faults.READ_ONLY,
    "55P03": faults.LOCKED,
    "40P01": faults.LOCKED,
    "57014": faults.SLOW,
    "53300": faults.FULL,
    "57P01": Fault("connect", "the session was ended by the server", "check the server's log"),
    "57P02": Fault("connect", "the session was ended by a crash of the server", "check the server's log"),
    "57P03": faults.STARTING,
    "57P05": Fault("connect", "the session was ended by the server, since it was idle"),
    "53100": Fault("query", "the server's disk is full"),
    "53200": Fault("query", "the server's memory is exhausted"),
    "54000": Fault("query", "a limit of the server was exceeded"),
    "40001": Fault("query", "the statement conflicted with recovery on a standby", "read from the primary, or wait"),
}
#: The driver tells a failed login by text alone. What is not among these, in whatever language the server speaks, is
#: taken for a refused login: then the pauses between attempts grow, and no account is locked by them.
_LOGIN_TEXTS = (
    ("password authentication failed", _LOGIN),
    ("connection refused", faults.REFUSED),
    ("failed to resolve host", faults.UNKNOWN_HOST),
    ("could not translate host name", faults.UNKNOWN_HOST),
    ("name or service not known", faults.UNKNOWN_HOST),
    ("timeout expired", faults.NO_ANSWER),
    ("timed out", faults.NO_ANSWER),
    ("no route to host", faults.UNREACHABLE),
    ("network is unreachable", faults.UNREACHABLE),
    ("server closed the connection", faults.LOST),
    ("connection reset", faults.LOST),
    ("could not receive data", faults.LOST),
    ("remaining connection slots", faults.FULL),
    ("too many connections", faults.FULL),
    ("too many clients", faults.FULL),
    ("is starting up", faults.STARTING),
    ("is shutting down", faults.STARTING),
    ("in recovery mode", faults.STARTING),
    ("not yet accepting connections", faults.STARTING),
)


def fault(source: str, error: Exception) -> CollectorError:
    """What an error of psycopg means.

    Args:
        source: the source's name in the configuration.
        error: the driver's, as it was raised.
    """
    if not isinstance(error, psycopg.Error):
        return faults.UNEXPECTED.error(source, type(error).__name__)
    if error.sqlstate:
        return _FAULTS.get(error.sqlstate, faults.OTHER).error(source, f"SQLSTATE {error.sqlstate}")
    if isinstance(error, psycopg.errors.ConnectionTimeout):
        return faults.NO_ANSWER.error(source)
    if isinstance(error, psycopg.OperationalError):
        return faults.LOST.error(source)
    return faults.UNEXPECTED.error(source, type(error).__name__)


def login_fault(source: str, error: psycopg.OperationalError) -> CollectorError:
    """What a failed login means.

    Args:
        source: the source's name in the configuration.
        error: the driver's, as it was raised.
    """
    if error.sqlstate or isinstance(error, psycopg.errors.ConnectionTimeout):
        return fault(source, error)
    text = str(error).lower()
    if 'database "' in text and "does not exist" in text:
        return faults.NO_DATABASE.error(source)
    if "permission denied for database" in text:
        return Fault("auth", "the user has no access to the database", "grant it CONNECT").error(source)
    return next((fault for part, fault in _LOGIN_TEXTS if part in text), _LOGIN).error(source)


def settings(timeout: float, *, read_only: bool = True) -> dict[str, str]:
    """What pins a session: it only reads, and gives values the same text whatever the server's settings.

    Args:
        timeout: seconds that a statement may take.
        read_only: whether it only reads; else only the rest holds.
    """
    wait = f"{max(1, round(timeout * 1000))}ms"
    return {
        "default_transaction_read_only": "on" if read_only else "off",
        "statement_timeout": wait,
        "lock_timeout": wait,
        "TimeZone": "UTC",
        "DateStyle": "ISO, YMD",
        "IntervalStyle": "postgres",
        "extra_float_digits": "1",
        "bytea_output": "hex",
        "lc_monetary": "C",
        "lc_numeric": "C",
        "xmloption": "content",
        "standard_conforming_strings": "on",
        "quote_all_identifiers": "off",
        "search_path": '"$user", public',
    }


def dial(source: str, config: PostgresqlSource, timeout: float) -> psycopg.Connection[Any]:
    """Log in.

    Args:
        source: the source's name in the configuration.
        config: the source.
        timeout: seconds that a statement may take.

    Raises:
        CollectorError: the login failed.
    """
    try:
        return psycopg.connect(
            host=config.host,
            port=config.port,
            user=config.user,
            password=config.secret.reveal() if config.secret else None,
            dbname=config.database,
            application_name="rounds",
            client_encoding="utf8",
            connect_timeout=int(CONNECT_WITHIN),
            keepalives=1,
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=int((timeout + PATIENCE) * 1000),
            autocommit=True,
            prepare_threshold=None,
            passfile=os.devnull,  # only what is configured
        )
    except psycopg.OperationalError as error:
        raise login_fault(source, error) from None


def pin(connection: psycopg.Connection[Any], pinned: Mapping[str, str]) -> None:
    """Give a session its settings."""
    calls = ", ".join("set_config(%s, %s, false)" for _ in pinned)
    connection.execute(f"SELECT {calls}", [text for pair in pinned.items() for text in pair])


class PostgresqlSession(AlchemySession):
    """A session with a PostgreSQL server."""

    kind = "postgresql"

    def __init__(self, source: str, config: PostgresqlSource, timeout: float, health: Health) -> None:
        self._config = config
        self._driver: psycopg.Connection[Any] | None = None
        self._line: socket.socket | None = None
        self._cut = False
        super().__init__(source, timeout, health, "postgresql+psycopg", self._connect)

    def cancel(self) -> None:
        """End the statement under way."""
        self._cancelled = True
        reaper.later(self._kill)

    def _connect(self) -> Any:
        connection = dial(self.source, self._config, self.timeout)
        try:
            self._line = socket.socket(fileno=os.dup(connection.fileno()))
            with self._watched():
                pin(connection, settings(self.timeout))
        except BaseException:
            connection.close()
            self._let_go()
            raise
        self._driver = connection
        return connection

    def all(self, sql: str, parameters: Any = ()) -> list[Row]:
        """The rows of a statement whose result is small."""
        with self._watched():
            return super().all(sql, parameters)

    def _fetch(self, sql: str, parameters: tuple[object, ...]) -> Generator[Row, None, None]:
        # Chunks of one result rather than a cursor in the server: that would need a transaction, and rules out
        # plans with parallel workers.
        size = _CHUNK if psycopg.capabilities.has_stream_chunked() else 1  # libpq 17
        with self._watched(), self.driver_connection.cursor() as cursor:
            yield from cursor.stream(sql, parameters, size=size)

    def _kill(self) -> None:
        try:
            if self._driver is not None:
                self._driver.cancel_safe(timeout=KILL_WITHIN)
        finally:
            self._shut()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """The server ends a statement that takes too long; the client does not wait for a server that hangs."""
        timer = threading.Timer(self.timeout + PATIENCE, self._hangs)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _hangs(self) -> None:
        self._cut = True
        self._shut()

    def _shut(self) -> None:
        if self._line is not None:
            with suppress(OSError):
                self._line.shutdown(socket.SHUT_RDWR)

    def _explain(self, error: Exception) -> CollectorError:
        return faults.NO_ANSWER.error(self.source) if self._cut else fault(self.source, error)

    def _let_go(self) -> None:
        if self._line is not None:
            self._line.close()
