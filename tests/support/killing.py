"""Death at a chosen statement, and a mistake that it brings to light."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, event

from rounds.ledger.ledger import Ledger
from rounds.ledger.tally import Tally


def die_before(statement: int) -> None:
    """This process kills itself before this statement, or commit, of a ledger in ``state.db``, counted from 1."""
    statements = 0

    def count(connection: Any) -> None:
        nonlocal statements
        if "state.db" in str(connection.engine.url):
            statements += 1
            if statements == statement:
                os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "before_cursor_execute", lambda connection, *_: count(connection))
    event.listen(Engine, "commit", count)


def commit_twice(ledger: Ledger) -> None:
    """Make a mistake for tests to notice: what is known is committed before what was counted."""
    store, writing, late = Tally.store, ledger.writing, list[Tally]()

    @contextmanager
    def twice() -> Iterator[Connection]:
        with writing() as connection:
            yield connection
        with writing() as connection:
            while late:
                store(late.pop(), connection)

    Tally.store = lambda tally, _: late.append(tally)  # type: ignore[method-assign,assignment]
    ledger.writing = twice  # type: ignore[method-assign]
