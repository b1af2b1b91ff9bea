"""A process that checks a table again and again until it is killed, by others or by itself."""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from rounds.ledger.ledger import open_ledger
from rounds.ledger.settings import State
from rounds.sources import SqliteSource
from rounds.tables.record import CHANGES
from rounds.tables.schema import SCHEMA
from support.patients import PatientsTable, Watch

#: Starts children that have imported everything already.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__, "support.apr_dying"])


class _Existing(PatientsTable):
    """A table that somebody else changes."""

    def __init__(self, file: Path) -> None:
        self.source = SqliteSource.model_validate({"kind": "sqlite", "path": str(file)})

    def sql(self, *statements: str) -> None:
        raise NotImplementedError

    def replace(self, rows: Any) -> None:
        raise NotImplementedError


def check_forever(folder: Path, state: State, keys: str, published: Connection, die_at: int | None) -> None:
    """Check the table in ``clinic.db`` against a ledger and tell the totals after each commit.

    Args:
        folder: where that file is.
        state: where the ledger is.
        keys: how keys leave the database.
        published: takes a list of the three totals for each check.
        die_at: the process kills itself before this statement of the ledger, counted from the first check's first;
            None means that it goes on.
    """
    ledger = open_ledger(state, [SCHEMA])
    watch = Watch(_Existing(folder / "clinic.db"), ledger, keys=keys)
    with watch.open() as session:
        statements = 0

        def count(*_: object) -> None:
            nonlocal statements
            statements += 1
            if statements == die_at:
                os.kill(os.getpid(), signal.SIGKILL)

        if die_at is not None:
            # Only the ledger's engine is known to SQLAlchemy by the name of a database.
            @event.listens_for(Engine, "before_cursor_execute")
            def before_statement(connection: Any, *_: object) -> None:
                if connection.engine.url.database:
                    count()

            @event.listens_for(Engine, "commit")
            def before_commit(connection: Any) -> None:
                if connection.engine.url.database:
                    count()

        while True:
            record = watch.check(session)
            published.send([record.total(change) for change in CHANGES])
            if die_at is not None:
                # One check is enough; a statement beyond its last is the sign of it.
                published.send("done")
                return
