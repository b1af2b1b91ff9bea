"""``rounds`` with faults that a test stages: ``python -m support.staged run ...``.

The environment says which: ``STAGED_STOP`` names a file; once that is there, the process stops itself before the next
statement of the ledger that has the file's content in it. ``STAGED_CLOCK`` is how many seconds its clock is ahead.
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

from sqlalchemy import Engine, event

from rounds.cli import main
from support.leasing import unfence


def _stage() -> None:
    ahead, now = float(os.environ.get("STAGED_CLOCK", "0")), time.time
    if ahead:
        time.time = lambda: now() + ahead
    if os.environ.get("STAGED_UNFENCED"):
        unfence()
    file = Path(os.environ["STAGED_STOP"])

    def stop(_: Any, __: Any, statement: str, *___: object) -> None:
        with contextlib.suppress(FileNotFoundError):
            if file.read_text(encoding="utf-8") in statement:
                file.unlink()
                os.kill(os.getpid(), signal.SIGSTOP)

    event.listen(Engine, "before_cursor_execute", stop)


if __name__ == "__main__":
    _stage()
    sys.exit(main())
