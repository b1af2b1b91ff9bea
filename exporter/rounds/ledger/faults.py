"""What went wrong with the ledger, in words of our own: messages of drivers quote values and are never passed on."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

_GONE = "does not answer, or its server ended the connection"
_FULL = "cannot be written: no space is left"
_READ_ONLY = "cannot be written: it is read-only"
_LOCKED = "is locked: something else has been writing to it for too long"
_DEADLOCK = "was busy with another exporter's transaction, which the server preferred"
_SLOW = "took longer over a statement than is allowed"
_REFUSED = "refuses the login: check state.user and its password"
_FORBIDDEN = "refuses what its user needs to do: grant it all rights on the database"
_MISSING = "cannot be opened: there is no such database"
_BUSY = "cannot be opened: the server has too many connections"
_DAMAGED = "is damaged; the exporter moves it aside when it starts again"
_TOO_LONG = "refused a value that is too large"
_NO_SETTING = "lacks a setting that the lease needs: it takes MariaDB 10.3 or newer, or PostgreSQL 12 or newer"
_CONSTRAINT = "refused a row that contradicts another"
_TABLES = "refused a statement: a table or a column is missing, or the statement is wrong"

_SQLITE = {
    sqlite3.SQLITE_PERM: _READ_ONLY,
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_IOERR: "cannot be read or written: the disk reports an error",
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: check that its folder exists and may be written",
    sqlite3.SQLITE_TOOBIG: _TOO_LONG,
    sqlite3.SQLITE_CONSTRAINT: _CONSTRAINT,
    sqlite3.SQLITE_ERROR: _TABLES,
}
_MARIADB = {
    **dict.fromkeys((1021, 1041, 1114), _FULL),
    1040: _BUSY,
    **dict.fromkeys((1044, 1045, 1698, 1862, 4151), _REFUSED),
    1049: _MISSING,
    **dict.fromkeys((1053, 1077, 1152, 1184, 1927, 2002, 2003, 2005, 2006, 2013, 2014, 2055), _GONE),
    **dict.fromkeys((1054, 1146), _TABLES),
    **dict.fromkeys((1062, 1451, 1452), _CONSTRAINT),
    **dict.fromkeys((1142, 1143, 1227), _FORBIDDEN),
    **dict.fromkeys((1153, 1264, 1406), _TOO_LONG),
    1193: _NO_SETTING,
    1205: _LOCKED,
    **dict.fromkeys((1020, 1213), _DEADLOCK),
    **dict.fromkeys((1036, 1290, 1792, 1836), _READ_ONLY),
    **dict.fromkeys((1317, 1969, 3024), _SLOW),
}
#: By the whole code, else by its class, which is its first two characters.
_POSTGRESQL = {
    "08": _GONE,
    "22": _TOO_LONG,
    "23": _CONSTRAINT,
    "25006": _READ_ONLY,
    "25P03": _GONE,
    "28": _REFUSED,
    "3D": _MISSING,
    "40": _DEADLOCK,
    "42501": _FORBIDDEN,
    "42704": _NO_SETTING,
    "42": _TABLES,
    "53100": _FULL,
    "53200": _FULL,
    "53300": _BUSY,
    "54": _TOO_LONG,
    "55P03": _LOCKED,
    "57014": _SLOW,
    "57": _GONE,
}
#: What does not pass by itself.
_LASTING = {_REFUSED, _FORBIDDEN, _MISSING, _NO_SETTING}


@dataclass(frozen=True)
class Fault:
    """An error of the ledger.

    Attributes:
        text: what it does wrong; reads on from "the ledger".
        lasting: whether somebody must change the configuration or the server.
        damaged: whether its file is no sound database.
    """

    text: str
    lasting: bool
    damaged: bool


def explain(error: SQLAlchemyError | sqlite3.Error) -> Fault:
    """What an error means."""
    text = _text(error)
    return Fault(text, text in _LASTING, text == _DAMAGED)


def _text(error: Exception) -> str:
    if isinstance(error, PoolTimeout):
        return _BUSY
    original = error.orig if isinstance(error, DBAPIError) else error
    code: int | str | None = None
    if isinstance(original, sqlite3.Error):
        code = getattr(original, "sqlite_errorcode", None)
        known = _SQLITE.get(code & 0xFF) if isinstance(code, int) else None
    elif original is not None and original.args and isinstance(original.args[0], int):  # PyMySQL
        code = original.args[0]
        known = _MARIADB.get(code)
    else:
        code = getattr(original, "sqlstate", None)
        known = _POSTGRESQL.get(code) or _POSTGRESQL.get(code[:2]) if isinstance(code, str) else _connection(original)
    shown = "" if code is None else f" (code {code})"
    return known or f"failed with {type(original).__name__}{shown}"


def _connection(error: object) -> str | None:
    """psycopg has no code where no connection came about; the server's answer is in the message then."""
    if type(error).__name__ != "OperationalError":
        return None
    message = str(error)
    if "authentication failed" in message or "no password supplied" in message or "no pg_hba.conf entry" in message:
        return _REFUSED
    if "unrecognized configuration parameter" in message:
        return _NO_SETTING
    return _MISSING if "does not exist" in message else _GONE
