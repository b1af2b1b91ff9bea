"""What can be wrong with a source, in our own words: what a driver says may quote values, so it is never passed on."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from rounds.errors import CollectorError, FailureReason


@dataclass(frozen=True)
class Fault:
    """A kind of fault: the reason that it counts as, what happened, and what to do about it."""

    reason: FailureReason
    what: str
    remedy: str = ""

    def error(self, source: str, code: str = "") -> CollectorError:
        """The error to raise.

        Args:
            source: the source's name in the configuration.
            code: the database's own name for it, such as ``MariaDB error 1045``.
        """
        text = f"source '{source}': {self.what}" + (f" ({code})" if code else "")
        return CollectorError(self.reason, f"{text}; {self.remedy}" if self.remedy else text)


REFUSED = Fault("connect", "nothing accepts connections there", "check host and port, and that the server runs")
UNKNOWN_HOST = Fault("connect", "the host's name has no address", "check host, and the resolver of this machine")
UNREACHABLE = Fault("connect", "the server cannot be reached", "check host, port and the network between")
NO_ANSWER = Fault("timeout", "the server did not answer in time", "check that it is well, and the network between")
LOST = Fault("connect", "the connection was lost", "check the server's log, and the network between")
GIVEN_UP = Fault("timeout", "the statement was given up at the deadline of the run")
SLOW = Fault(
    "timeout",
    "the statement took longer than its timeout and was ended by the server",
    "raise timeout, or look for what it waited for",
)
LOGIN = Fault("auth", "wrong user or password", "check user and password; whether the account is locked or expired too")
FORBIDDEN = Fault(
    "auth", "the user lacks a privilege on a table, a column or a schema", "grant it SELECT on what is read"
)
READ_ONLY = Fault("query", "the statement would write; sessions with sources only read")
NO_DATABASE = Fault("connect", "the database does not exist", "check the name of the database")
NO_TABLE = Fault("query", "a table or view does not exist", "check its name, schema and database")
NO_COLUMN = Fault("query", "a column does not exist", "check the names of the columns")
NO_FUNCTION = Fault("query", "a function does not exist or does not take these types", "check the server's version")
SYNTAX = Fault("query", "the statement is not understood", "check the server's version")
FULL = Fault("connect", "the server has no connection left", "raise its limit, or close what is not used")
STARTING = Fault("connect", "the server is starting or shutting down")
LOCKED = Fault("timeout", "a lock that another session holds was not released in time", "look for what holds it")
OTHER = Fault("query", "the statement failed", "look the number up in the database's manual")
UNEXPECTED = Fault("query", "the driver failed in a way that is not known")


def of_network(error: OSError) -> Fault:
    """Which fault an error of the network is."""
    if isinstance(error, TimeoutError):
        return NO_ANSWER
    if isinstance(error, socket.gaierror):
        return UNKNOWN_HOST
    if isinstance(error, ConnectionRefusedError):
        return REFUSED
    if isinstance(error, ConnectionError):
        return LOST
    return UNREACHABLE
