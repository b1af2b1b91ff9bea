"""``rounds`` with faults that a test stages: ``python -m support.staged run ...``.

The environment says which: ``STAGED_STOP`` names a file; once that is there, the process stops itself before the next
statement of the ledger that has the file's content in it; beside it is a file ``.ended`` once it went on and that
transaction has ended. ``STAGED_CLOCK`` is how many seconds its clock is ahead.
``STAGED_UNFENCED`` leaves out the check of the lease in each transaction.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Pool, event

from rounds.cli import main
from support.leasing import unfence


def _stage() -> None:
    ahead, now = float(os.environ.get("STAGED_CLOCK", "0")), time.time
    if ahead:
        time.time = lambda: now() + ahead
    if os.environ.get("STAGED_UNFENCED"):
        unfence()
    file = Path(os.environ["STAGED_STOP"])

    stopped: list[object] = []

    def stop(connection: Any, _: Any, statement: str, *__: object) -> None:
        with contextlib.suppress(FileNotFoundError):
            if file.read_text(encoding="utf-8") in statement:
                file.unlink()
                stopped.append(connection.connection.dbapi_connection)
                os.kill(os.getpid(), signal.SIGSTOP)

    def end(connection: object, *_: object) -> None:
        if connection in stopped:
            file.with_suffix(".ended").touch()

    event.listen(Engine, "before_cursor_execute", stop)
    event.listen(Pool, "checkin", end)
    event.listen(Pool, "invalidate", end)


if __name__ == "__main__":
    _stage()
    sys.exit(main())
