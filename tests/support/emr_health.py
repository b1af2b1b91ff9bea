"""Processes that checks of an application meet: one that holds a SQLite file, and one that may write nothing."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from rounds.emr.health.database import Database

_NOBODY = 65534
_HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
for statement in sys.argv[2:]:
    connection.execute(statement).fetchall()
print("held", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def holding(path: Path, *statements: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has executed these statements, and keeps its connection until it is left."""
    command = [sys.executable, "-c", _HOLDER, str(path), *statements]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def database_as_nobody(path: Path, sender: Connection) -> None:
    """Check a database without the right to write anywhere. The result goes into the pipe."""
    if os.getuid() == 0:
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)
    sender.send(Database(path, timeout=0.3).run())
