"""Applications in processes of their own that use the library, and what their stores say afterwards."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[2] / "exporter"

_PRELUDE = """
import sys
from rounds.emr import Monitor
monitor = Monitor("docassist", "1.4.2", store="data/monitoring.db")
"""
_HOOKS = "monitor.install_hooks()\n"
#: However busy the machine is that runs the tests.
_PATIENT = """
import atexit
import rounds.emr.app.lookout
rounds.emr.app.lookout.PATIENCE = 60
atexit.register(monitor.close, 60)
"""


@dataclass
class App:
    """An application in a folder. Each run is a process."""

    folder: Path

    @property
    def store(self) -> Path:
        return self.folder / "data/monitoring.db"

    @property
    def reports(self) -> Path:
        return self.folder / "data/crash_reports"

    def run(
        self,
        code: str,
        *,
        before: str = "",
        environment: Mapping[str, str] | None = None,
        hooks: bool = True,
        patient: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end.

        Args:
            code: what it does.
            before: what it does before there is a monitor.
            environment: more of it.
            hooks: whether they are installed.
            patient: whether its end waits as long as the store takes, and not only as long as it does by itself.
        """
        process = self.start(code, before=before, environment=environment, hooks=hooks, patient=patient)
        out, error = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, out, error)

    def start(
        self,
        code: str,
        *,
        before: str = "",
        environment: Mapping[str, str] | None = None,
        hooks: bool = True,
        patient: bool = True,
    ) -> subprocess.Popen[str]:
        """Start a program, as :meth:`run` does."""
        self.folder.mkdir(exist_ok=True)
        script = self.folder / "program.py"
        monitor = _PRELUDE + (_HOOKS if hooks else "") + (_PATIENT if patient else "")
        script.write_text(textwrap.dedent(before) + monitor + textwrap.dedent(code), encoding="utf-8")
        # Nothing of the tests' own environment, such as an enabled faulthandler.
        own = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
        return subprocess.Popen(
            [sys.executable, "program.py"],
            cwd=self.folder,
            env={**own, "PYTHONPATH": str(PACKAGE), **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """What the store answers."""
        with closing(sqlite3.connect(self.store)) as connection:
            return connection.execute(statement).fetchall()

    def counter(self, name: str) -> dict[tuple[str, ...], float]:
        """A counter by its labels, without those that are 0."""
        rows = self.rows(f"SELECT labels, value FROM rounds_counter WHERE name = '{name}' AND value > 0")
        return {tuple(json.loads(labels)): value for labels, value in rows}

    @property
    def errors(self) -> dict[tuple[str, ...], float]:
        """By kind and source."""
        return self.counter("errors_total")

    @property
    def crashes(self) -> dict[tuple[str, ...], float]:
        """By kind."""
        return self.counter("crashes_total")

    @property
    def endings(self) -> list[str | None]:
        """How runs ended, oldest first."""
        return [ending for (ending,) in self.rows("SELECT ending FROM rounds_run ORDER BY id")]

    def reported(self) -> list[dict[str, Any]]:
        """The reports of crashes, oldest first."""
        return [json.loads(file.read_bytes()) for file in sorted(self.reports.glob("crash_*.json"))]
