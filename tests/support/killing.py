"""Death at a chosen statement."""

from __future__ import annotations

import os
import signal
from typing import Any

from sqlalchemy import Engine, event


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
