"""Ledgers that exporters share by a lease, and who has written what to them under whose lease."""

from __future__ import annotations

import os
import random
import signal
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from sqlalchemy import event

from rounds.errors import CollectorError
from rounds.ledger import counters
from rounds.ledger.lease import Lease
from rounds.ledger.ledger import open_ledger
from rounds.ledger.settings import State

_NOW = {
    "mariadb": "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) / 1e6",
    "postgresql": "EXTRACT(EPOCH FROM clock_timestamp())",
}


@dataclass(frozen=True)
class Written:
    """One row that somebody wrote.

    Attributes:
        user: the login of whose session wrote it.
        row: what identifies the row.
        holder: who held the lease then.
        epoch: which time it was.
    """

    user: str
    row: str
    holder: str
    epoch: int


class Audit:
    """Has the server itself note each row written to one of the ledger's tables, and the lease at that moment."""

    def __init__(self, server: Any, place: str, database: str, table: str, column: str) -> None:
        self._server = server
        self._database = database
        serial = {"mariadb": "BIGINT AUTO_INCREMENT PRIMARY KEY", "postgresql": "BIGSERIAL PRIMARY KEY"}[place]
        user = {"mariadb": "USER()", "postgresql": "session_user"}[place]
        note = (
            f"INSERT INTO audit (who, what, holder, epoch) SELECT {user}, NEW.{column}, holder, epoch FROM ledger_lease"
        )
        server.sql(
            f"CREATE TABLE audit (id {serial}, who VARCHAR(99), what VARCHAR(200), holder VARCHAR(255), epoch BIGINT)",
            database=database,
        )
        if place == "mariadb":
            for when in ("INSERT", "UPDATE"):
                trigger = f"CREATE TRIGGER audit_{when} AFTER {when} ON {table} FOR EACH ROW {note}"
                server.sql(trigger, database=database)
            return
        server.sql(
            "GRANT ALL ON ALL TABLES IN SCHEMA public TO public",
            "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO public",
            f"CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {note}; RETURN NULL; END $$",
            f"CREATE TRIGGER audit AFTER INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION note()",
            database=database,
        )

    @property
    def written(self) -> list[Written]:
        """All of it, in order."""
        query = "SELECT who, what, holder, epoch FROM audit ORDER BY id"
        rows = self._server.sql(query, database=self._database)
        return [Written(who.partition("@")[0], what, holder, epoch) for who, what, holder, epoch in rows]


def pid_of(holder: str) -> int:
    """The process in a holder's name."""
    return int(holder.split(":")[1])


def set_lease(server: Any, place: str, database: str, assigned: str) -> None:
    """Change the lease as if somebody else had; ``NOW`` stands for the server's clock."""
    server.sql(f"UPDATE ledger_lease SET {assigned.replace('NOW', _NOW[place])}", database=database)


def unfence() -> None:
    """Make a mistake for tests to notice: whoever once held the lease writes."""
    Lease.check = lambda *_: None  # type: ignore[method-assign]


def count_forever(state: State, told: Connection, seed: int, *, fenced: bool) -> None:
    """Add to a counter of this process without looking whether it holds the lease, and tell each commit.

    Now and then the process stops itself, mostly in the middle of a transaction.
    """
    if not fenced:
        unfence()
    random_ = random.Random(seed)
    ledger = open_ledger(state, [])
    assert ledger.lease is not None

    def stop(connection: Any, cursor: Any, statement: str, *_: object) -> None:
        if ("ledger_counters" in statement and random_.random() < 0.002) or random_.random() < 0.0005:
            os.kill(os.getpid(), signal.SIGSTOP)

    event.listen(ledger._store.writer, "before_cursor_execute", stop)
    ledger.lease.start()
    while True:
        try:
            with ledger.writing() as connection:
                counters.add(connection, f"counted/{os.getpid()}", (), 1)
        except CollectorError as error:
            told.send(str(error))
        else:
            told.send(1)
