"""What docs/emr.md says of the library is there, and its examples run."""

from __future__ import annotations

import inspect
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import rounds.emr
from rounds.emr import Monitor, MonitoringSystem
from rounds.emr.commands import COMMANDS
from rounds.emr.health import backup
from rounds.emr.layout import TABLES
from rounds.emr.metrics import CATALOGUE
from rounds.emr.names import CHECKS

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "emr.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
#: Parts of the existing program's facade, as applications call them.
PARTS = ("error_tracker", "metrics", "performance", "alerting", "dashboard", "health")


def section(title: str) -> str:
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#+ |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_runs(example: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"query = ''\n{example}"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    with closing(sqlite3.connect(tmp_path / "data" / "monitoring.db")) as connection:
        assert connection.execute("SELECT ending FROM rounds_run").fetchall() == [("clean",)]


def test_calls_have_the_parameters_that_are_named() -> None:
    calls = re.findall(r"`(\w+)\(([^`]*)\)`", section("For the developer").partition("| call |")[2])
    assert len(calls) >= 12
    for name, parameters in calls:
        function = Monitor if name == "Monitor" else getattr(Monitor, name)
        known = inspect.signature(function).parameters
        named = [each.partition("=")[0].strip() for each in parameters.split(",")]
        assert set(named) - {"", "*", "..."} <= set(known), name


def test_existing_names_are_there(tmp_path: Path) -> None:
    system = MonitoringSystem(tmp_path / "monitoring.db", None, alert_config={"enable_notifications": False})
    rows = re.findall(r"^\| (`.*?`) \|", section("Changing the import"), re.MULTILINE)
    names = [name for row in rows for name in re.findall(r"`([\w.]+)`", row)]
    assert len(names) >= 20
    try:
        for name in names:
            found = [system, *(getattr(system, part) for part in PARTS), rounds.emr]
            for word in name.split("."):
                found = [getattr(each, word) for each in found if hasattr(each, word)]
            assert found, name
    finally:
        system.stop()


def test_hooks_tables_commands_and_series_are_called_so() -> None:
    assert set(re.findall(r"`(rounds_(?!emr|error_t)[a-z_]+)`", PAGE)) <= {"rounds_", *TABLES, "rounds_..."}
    series = {metric.name.removeprefix("rounds_emr_") for metric in CATALOGUE}
    for name in re.findall(
        r"`(\w+?)(?:\{[^`]*\})?`", section("The two stores") + section("Checks") + section("Limits")
    ):
        if name.endswith(("_total", "_ok", "_state", "_reason", "_locked", "_loaded", "_running", "_problem")):
            assert name in series, name
    for words in re.findall(r"`rounds emr (\w+)", PAGE):
        assert ("emr", words) in {command.words for command in COMMANDS}
    assert set(re.findall(r"^\| `(\w+)` \|", section("Checks"), re.MULTILINE)) == set(CHECKS)
    assert list(inspect.signature(Monitor.install_hooks).parameters)[1:] == [
        *("sys", "threads", "executors", "asyncio", "unraisable", "faulthandler", "sigterm")
    ], "the table of hooks has a row for each"


def test_a_runbook_names_reasons_that_there_are() -> None:
    text = (DOCS / "runbooks" / "EmrBackupMissing.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named
    assert named <= set(backup.REASONS)
