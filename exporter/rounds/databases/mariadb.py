"""Sessions with MariaDB and MySQL."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Generator
from contextlib import closing, suppress
from typing import Any

import pymysql
from pymysql.cursors import SSCursor

from rounds.databases import faults, reaper
from rounds.databases.alchemy import AlchemySession
from rounds.databases.faults import Fault
from rounds.databases.health import Health
from rounds.databases.session import CONNECT_WITHIN, KILL_WITHIN, PATIENCE, Row
from rounds.errors import CollectorError
from rounds.sources import MariadbSource

#: MySQL has statistics of tables that are never older than this only since this version.
_MYSQL_WITH_EXPIRY = 8
#: Seconds for which the server holds back rows that nobody takes, at least: its own default.
_NET_WRITE_TIMEOUT = 60

_LOST = (0, 2006, 2013, 2014, 2055, 1053, 1077, 1079, 1152, 1153, 1158, 1159, 1160, 1161, 1927)
_LOGIN = Fault(
    "auth",
    "access denied: wrong user or password, or this user may not log in from this machine",
    "check user and password, and the host part of the account",
)
_FAULTS = {
    1040: faults.FULL,
    1203: faults.FULL,
    1226: Fault("connect", "the user has used up its share of the server", "raise the account's limits"),
    1044: Fault("auth", "the user has no access to the database", "grant it SELECT on what is read"),
    1045: _LOGIN,
    1698: _LOGIN,
    1130: Fault("auth", "this machine may not log in", "check the host part of the account"),
    1129: Fault("connect", "the server has blocked this machine after too many errors", "run FLUSH HOSTS there"),
    1820: Fault("auth", "the password has expired", "set a new one"),
    1862: Fault("auth", "the password has expired", "set a new one"),
    3118: Fault("auth", "the account is locked", "unlock it"),
    4151: Fault("auth", "the account is locked", "unlock it"),
    1049: faults.NO_DATABASE,
    1142: faults.FORBIDDEN,
    1143: faults.FORBIDDEN,
    1227: faults.FORBIDDEN,
    1370: faults.FORBIDDEN,
    1146: faults.NO_TABLE,
    1054: faults.NO_COLUMN,
    1305: faults.NO_FUNCTION,
    1064: faults.SYNTAX,
    1792: faults.READ_ONLY,
    1290: faults.READ_ONLY,
    1205: faults.LOCKED,
    1213: faults.LOCKED,
    1969: faults.SLOW,
    3024: faults.SLOW,
    1317: Fault("query", "the statement was killed in the server"),
}


def fault(source: str, error: Exception) -> CollectorError:
    """What an error of PyMySQL, or of the network below it, means.

    Args:
        source: the source's name in the configuration.
        error: the driver's, as it was raised.
    """
    if isinstance(error, OSError):
        return faults.of_network(error).error(source)
    number = error.args[0] if isinstance(error, pymysql.err.MySQLError) and error.args else None
    if not isinstance(number, int):
        return faults.UNEXPECTED.error(source, type(error).__name__)
    code = f"MariaDB error {number}"
    cause = error.__cause__ or error.__context__
    if number in _LOST:
        return (faults.NO_ANSWER if isinstance(cause, TimeoutError) else faults.LOST).error(
            source, code if number else ""
        )
    return _FAULTS.get(number, faults.OTHER).error(source, code)


def settings(version: str, timeout: float) -> list[str]:
    """The statements that pin a session: it only reads, and gives values the same text whatever the server's settings.

    Args:
        version: what the server says that it is.
        timeout: seconds that a statement may take.
    """
    wait = max(1, round(timeout))
    pinned = {
        "sql_mode": "'STRICT_TRANS_TABLES'",  # no PAD_CHAR_TO_FULL_LENGTH, ANSI_QUOTES, NO_BACKSLASH_ESCAPES
        "time_zone": "'+00:00'",
        "lock_wait_timeout": str(wait),
        "innodb_lock_wait_timeout": str(wait),
        "net_write_timeout": str(max(_NET_WRITE_TIMEOUT, wait)),
    }
    if "mariadb" in version.lower():
        pinned["max_statement_time"] = f"{timeout:.3f}"
    else:
        pinned["max_execution_time"] = str(max(1, round(timeout * 1000)))
        if int(version.partition(".")[0]) >= _MYSQL_WITH_EXPIRY:
            pinned["information_schema_stats_expiry"] = "0"
    values = ", ".join(f"SESSION {name} = {value}" for name, value in pinned.items())
    return ["SET NAMES utf8mb4", f"SET {values}", "SET SESSION TRANSACTION READ ONLY"]


class _Connection(pymysql.Connection):  # type: ignore[misc]  # the driver has no types
    """The driver's connection, quicker to open.

    Like other clients' it speaks TLS where the server does, and verifies nothing then. The driver reads all
    certificates of the system for that anew each time, which takes longer than a login.
    """

    def _create_ssl_ctx(self, _: object) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context


class MariadbSession(AlchemySession):
    """A session with a MariaDB or MySQL server."""

    kind = "mariadb"

    def __init__(self, source: str, config: MariadbSource, timeout: float, health: Health) -> None:
        self._config = config
        self._line: socket.socket | None = None
        self._id: int | None = None
        super().__init__(source, timeout, health, "mysql+pymysql", self._connect)

    def cancel(self) -> None:
        """End the statement under way."""
        self._cancelled = True
        self._give_up()

    def _connect(self) -> Any:
        connection, line = self._dial(CONNECT_WITHIN)
        try:
            with connection.cursor() as cursor:
                for statement in settings(connection.get_server_info(), self.timeout):
                    cursor.execute(statement)
        except BaseException:
            line.close()
            connection.close()
            raise
        # The server ends a statement that takes too long; the client does not wait for a server that hangs.
        connection._read_timeout = self.timeout + PATIENCE  # noqa: SLF001  # logging in has another one
        self._line, self._id = line, connection.thread_id()
        return connection

    def _dial(self, within: float) -> tuple[Any, socket.socket]:
        """Log in. Gives the connection, and a handle on its socket that stays when TLS takes the first one over."""
        config = self._config
        password = config.secret.reveal().encode() if config.secret else b""  # text would be sent as Latin-1
        connection = _Connection(
            host=config.host,
            user=config.user,
            password=password,
            database=config.database,
            charset="utf8mb4",
            autocommit=True,
            read_timeout=within,
            write_timeout=within,
            program_name="rounds",
            defer_connect=True,
        )
        link = socket.create_connection((config.host, config.port), within)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        line = link.dup()
        try:
            connection.connect(link)
        except BaseException:
            line.close()
            link.close()
            raise
        return connection, line

    def _fetch(self, sql: str, parameters: tuple[object, ...]) -> Generator[Row, None, None]:
        cursor = self.driver_connection.cursor(SSCursor)
        try:
            cursor.execute(sql, parameters)
            while (row := cursor.fetchone()) is not None:
                yield row
        except GeneratorExit:
            self._usable = False
            self._give_up()
            # Or the driver fetches the rest of the rows, however many, when the result is forgotten.
            cursor._result.unbuffered_active = False  # noqa: SLF001
            raise
        finally:
            with suppress(Exception):
                cursor.close()

    def _give_up(self) -> None:
        """Cut the connection, which wakes whoever waits for it, and have the server end the statement."""
        if self._line is not None:
            with suppress(OSError):
                self._line.shutdown(socket.SHUT_RDWR)
            reaper.later(self._kill)

    def _kill(self) -> None:
        connection, line = self._dial(KILL_WITHIN)
        with line, closing(connection), connection.cursor() as cursor:
            cursor.execute(f"KILL {self._id}")

    def _explain(self, error: Exception) -> CollectorError:
        return fault(self.source, error)

    def _let_go(self) -> None:
        if self._line is not None:
            self._line.close()
