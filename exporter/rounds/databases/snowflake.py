"""Sessions with Snowflake, over the connector's own interface."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import snowflake.connector
from snowflake.connector.errors import Error

from rounds.databases import faults, reaper
from rounds.databases.faults import Fault
from rounds.databases.health import Health
from rounds.databases.session import CONNECT_WITHIN, PATIENCE, Row, Session
from rounds.databases.worker import Worker
from rounds.errors import CollectorError
from rounds.sources import SnowflakeSource

Result = TypeVar("Result")

# Or the connector asks the metadata services of three clouds where it runs, to tell Snowflake.
os.environ.setdefault("SNOWFLAKE_DISABLE_PLATFORM_DETECTION", "true")

#: Rows that are fetched at a time; they may be long.
_CHUNK = 100
#: Megabytes that the connector may fetch ahead, and threads that do it.
_AHEAD, _FETCHERS = 64, 2
#: Errors of logging in, all of which mean that no other attempt should follow soon.
_LOGIN_ERRORS = (range(390_100, 391_000), range(394_000, 396_000))

_WAREHOUSE = Fault(
    "query",
    "no warehouse is running or may be used",
    "check the source's warehouse, its AUTO_RESUME and the role's USAGE on it",
)
_KEY = Fault(
    "auth",
    "the private key cannot be used",
    "check that the file holds a PKCS#8 key in PEM form, and its private_key_password",
)
_NO_OBJECT = Fault(
    "query",
    "a table, schema or database does not exist, or the role may not see it",
    "check the name and its case, and grant the role USAGE on database and schema and SELECT on the table",
)
_NO_SCHEMA = Fault("query", "a table is named without its database or schema", "name it as database.schema.table")
_LOGIN = {
    390_100: faults.LOGIN,
    390_101: Fault("auth", "the user is disabled", "enable it, or configure another"),
    390_102: Fault("auth", "the user is locked after failed attempts", "wait, or unlock it"),
    390_106: Fault("auth", "the password has expired", "set a new one, or better use a key pair"),
    390_111: faults.LOST,
    390_112: faults.LOST,
    390_114: faults.LOST,
    390_144: Fault(
        "auth", "the key pair is refused", "check the user's RSA_PUBLIC_KEY, account, and the clock of this machine"
    ),
    390_189: Fault("auth", "the role does not exist or is not granted to the user", "check role"),
    390_201: Fault("auth", "the database or the warehouse does not exist or is not granted", "check both"),
    390_303: Fault("auth", "the OAuth token is invalid", "provide a new one"),
    390_318: Fault("auth", "the OAuth token has expired", "provide a new one"),
    390_422: Fault("auth", "a network policy does not allow this machine's address", "add it to the policy"),
    394_300: Fault("auth", "the token is refused: its user has no network policy", "assign one to the user"),
    394_400: Fault("auth", "the programmatic access token is invalid", "provide a new one"),
    394_401: Fault("auth", "the programmatic access token has expired", "provide a new one"),
}
_FAULTS = {
    2_003: _NO_OBJECT,
    2_043: _NO_OBJECT,
    904: faults.NO_COLUMN,
    2_140: faults.NO_FUNCTION,
    2_141: faults.NO_FUNCTION,
    1_003: faults.SYNTAX,
    3_001: Fault("auth", "the role lacks a privilege", "grant the role what the documentation lists"),
    606: _WAREHOUSE,
    607: _WAREHOUSE,
    90_073: Fault("query", "a resource monitor has suspended the warehouse", "raise its quota, or wait"),
    90_109: Fault("query", "a resource monitor has suspended the warehouse", "raise its quota, or wait"),
    604: Fault("timeout", "the statement was cancelled in Snowflake", "look for who did it, or raise timeout"),
    630: faults.SLOW,
    14: Fault(
        "timeout",
        "Snowflake did not answer in time and was given up",
        "raise timeout or the warehouse's size, or check the network between",
    ),
    90_105: _NO_SCHEMA,
    90_106: _NO_SCHEMA,
    4: faults.LOST,
    6: faults.LOST,
    251_007: Fault("auth", "the private key file cannot be read", "check private_key_file"),
    7: Fault("auth", "the connector refuses these settings", "check authenticator and what it needs"),
}
_STATES = (("28", faults.LOGIN), ("42501", _FAULTS[3_001]), ("42S02", _NO_OBJECT), ("57014", faults.SLOW))
#: The connector's number for every way in which no session came about.
_NOT_CONNECTED = 250_001
#: What tells these apart.
_TEXTS = (
    ("authentication failed", _KEY),
    ("connection refused", faults.REFUSED),
    ("lookup address", faults.UNKNOWN_HOST),
    ("timed out", faults.NO_ANSWER),
    ("timeout", faults.NO_ANSWER),
    ("invalid snowflake response", Fault("connect", "what answers there is no Snowflake", "check account and host")),
    (
        "certificate",
        Fault("connect", "the server's certificate is not trusted", "check host, and this machine's clock"),
    ),
)


def fault(source: str, error: Exception) -> CollectorError:
    """What an error of the connector means.

    Args:
        source: the source's name in the configuration.
        error: the driver's, as it was raised.
    """
    if isinstance(error, TimeoutError):
        return faults.NO_ANSWER.error(source)
    if not isinstance(error, Error):
        return faults.UNEXPECTED.error(source, type(error).__name__)
    return _meant(error).error(source, f"Snowflake error {error.errno:06d}")


def _meant(error: Error) -> Fault:
    number, state = error.errno, error.sqlstate or ""
    if any(number in numbers for numbers in _LOGIN_ERRORS):
        return _LOGIN.get(number, faults.LOGIN)
    if number in _FAULTS:
        return _FAULTS[number]
    if number == _NOT_CONNECTED or state.startswith("08"):
        text = str(error).lower()
        return next((fault for part, fault in _TEXTS if part in text), faults.UNREACHABLE)
    return next((fault for start, fault in _STATES if state.startswith(start)), faults.OTHER)


def arguments(config: SnowflakeSource, timeout: float) -> dict[str, Any]:
    """What the connector is told. It takes names that it does not know for settings of the session, and sends them.

    Args:
        config: the source.
        timeout: seconds that a statement may take.
    """
    password = config.password or config.password_file
    key_password = config.private_key_password or config.private_key_password_file
    token = config.token or config.token_file
    given = {
        "account": config.account,
        "user": config.user,
        "warehouse": config.warehouse,
        "database": config.database,
        "role": config.role,
        "host": config.host,
        "port": config.port,
        "protocol": config.protocol,
        "password": password and password.reveal(),
        "private_key_file": config.private_key_file and str(config.private_key_file),
        "private_key_password": key_password and key_password.reveal(),
        "token": token and token.reveal(),
        "authenticator": config.authenticator or ("programmatic_access_token" if token else None),
    }
    seconds = math.ceil(timeout)
    return {
        **{name: value for name, value in given.items() if value is not None},
        "application": "Rounds",
        "paramstyle": "qmark",
        "autocommit": True,
        "login_timeout": int(CONNECT_WITHIN),
        "request_timeout": int(CONNECT_WITHIN),
        "query_timeout": seconds,
        # One login for a run: further ones with a wrong password lock the user.
        "retry_max_attempts": 1,
        "client_session_keep_alive": False,
        "enable_server_session_keep_alive_auto_detection": False,
        "client_store_temporary_credential": False,
        "client_memory_limit": _AHEAD,
        "client_prefetch_threads": _FETCHERS,
        "session_parameters": {
            "QUERY_TAG": "rounds",
            "STATEMENT_TIMEOUT_IN_SECONDS": seconds,
            "ABORT_DETACHED_QUERY": True,
            "TIMEZONE": "UTC",
            "CLIENT_TELEMETRY_ENABLED": False,
        },
    }


class SnowflakeSession(Session):
    """A session with a Snowflake account. What it may do is up to its role: Snowflake has no sessions that only read.

    The connector's calls cannot be interrupted, so they are made in a thread that is left to itself when one is given
    up; the connection is closed then, which makes Snowflake end the statement.

    Args:
        source: the source's name in the configuration.
        config: the source.
        timeout: seconds that a statement may take.
        health: where statements are counted.

    Raises:
        CollectorError: ``connect``, ``auth`` or ``timeout``.
    """

    kind = "snowflake"

    def __init__(self, source: str, config: SnowflakeSource, timeout: float, health: Health) -> None:
        self.source = source
        self.timeout = timeout
        self._health = health
        self._usable = True
        self._cancelled = False
        self._connection: Any = None
        self._cursor: Any = None
        self._worker = Worker(f"snowflake-{source}")
        try:
            self._connection = self._call(
                lambda: snowflake.connector.connect(**arguments(config, timeout)), CONNECT_WITHIN + PATIENCE
            )
        except BaseException:
            self._worker.end()
            raise

    def all(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        """The rows of a statement whose result is small."""
        return list(self.stream(sql, parameters))

    def stream(self, sql: str, parameters: Sequence[object] = ()) -> Iterator[Row]:
        """The rows of a statement, fetched as they are taken."""
        self._end_cursor()
        self._health.sent()
        if not self._usable:
            raise (faults.GIVEN_UP if self._cancelled else faults.LOST).error(self.source)
        return self._fetch(sql, tuple(parameters))

    def cancel(self) -> None:
        """End the statement under way."""
        self._cancelled = True
        self._give_up()

    def close(self) -> None:
        """End the session."""
        if self._usable and self._connection is not None:
            with suppress(CollectorError):
                self._call(self._connection.close, CONNECT_WITHIN + PATIENCE)
        self._usable = False
        self._worker.end()

    def _fetch(self, sql: str, parameters: tuple[object, ...]) -> Generator[Row, None, None]:
        within = self.timeout + PATIENCE
        cursor = self._cursor = self._call(self._connection.cursor, within)
        self._call(lambda: cursor.execute(sql, parameters or None), within)
        while self._cursor is cursor and (rows := self._call(lambda: cursor.fetchmany(_CHUNK), within)):
            yield from rows
        if self._cursor is cursor:
            self._end_cursor()

    def _end_cursor(self) -> None:
        cursor, self._cursor = self._cursor, None
        if cursor is not None and self._usable:
            with suppress(CollectorError):
                self._call(cursor.close, PATIENCE)

    def _call(self, work: Callable[[], Result], within: float) -> Result:
        try:
            result = self._worker.call(work, within)
        except Exception as error:  # noqa: BLE001  # the connector also raises what is no error of its own
            told = faults.GIVEN_UP.error(self.source) if self._cancelled else fault(self.source, error)
            if told.reason in ("connect", "timeout"):
                self._give_up()
            if told.reason == "connect":
                self._health.up = False
            raise told from None
        self._health.up = True
        return result

    def _give_up(self) -> None:
        """Leave what goes on to itself; logging out makes Snowflake end the statement."""
        self._usable = False
        self._worker.give_up()
        if self._connection is not None:
            reaper.later(self._connection.close)
