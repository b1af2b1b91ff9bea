"""The process that makes the synthetic tables and changes them."""

from __future__ import annotations

import contextlib
import select
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rounds.demo.ports import pick_port
from rounds.demo.records import KINDS
from rounds.demo.writer import MADE, WAREHOUSE, main
from support.fakesnow import FakesnowServer

ROOT = Path(__file__).parents[2]


@contextmanager
def writer(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """It must end with code 0 when it is told to."""
    command = [sys.executable, "-m", "rounds.demo.writer", *arguments]
    with subprocess.Popen(command, cwd=ROOT / "exporter", stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().rstrip()


def count(file: Path, table: str) -> int:
    with contextlib.closing(sqlite3.connect(file)) as connection:
        return int(connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])


def test_it_makes_tables_says_so_and_changes_them(tmp_path: Path) -> None:
    file, heartbeat = tmp_path / "clinic.db", tmp_path / "heartbeat"
    with writer(f"--file={file}", "--speed=10", f"--heartbeat={heartbeat}") as process:
        assert line(process) == MADE
        assert {name: count(file, name) for name in KINDS} == {name: kind.rows for name, kind in KINDS.items()}
        assert line(process) == "patients: 2 inserted"
        assert count(file, "patients") == KINDS["patients"].rows + 2
        assert heartbeat.exists()


def test_it_changes_nothing_before_the_exporter_has_seen_the_tables(tmp_path: Path) -> None:
    arguments = (f"--file={tmp_path / 'clinic.db'}", "--speed=1000", f"--after=http://127.0.0.1:{pick_port()}/")
    with writer(*arguments) as process:
        assert line(process) == MADE
        assert process.stdout
        # A thousandth of the script's first pause is over long before.
        assert not select.select([process.stdout], [], [], 1.0)[0]


def test_a_file_that_cannot_be_written_is_told_and_tried_again(tmp_path: Path) -> None:
    with writer(f"--file={tmp_path / 'missing' / 'clinic.db'}") as process:
        assert line(process) == "The tables cannot be written (OperationalError); they are made anew."
        (tmp_path / "missing").mkdir()
        assert line(process) == MADE


def test_a_database_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([])
    assert "--warehouse or --file" in capsys.readouterr().err


@pytest.mark.slow
def test_patients_are_in_the_warehouse_where_there_is_one(fakesnow: FakesnowServer, tmp_path: Path) -> None:
    file = tmp_path / "clinic.db"
    with writer(f"--warehouse=127.0.0.1:{fakesnow.port}", f"--file={file}") as process:
        assert line(process) == MADE
        assert fakesnow.sql(f"SELECT COUNT(*) FROM {WAREHOUSE['patients']}") == [(KINDS["patients"].rows,)]
        assert count(file, "appointments") == KINDS["appointments"].rows
    with writer(f"--warehouse=127.0.0.1:{fakesnow.port}") as process:
        assert line(process) == MADE
        assert fakesnow.sql(f"SELECT COUNT(*) FROM {WAREHOUSE['appointments']}") == [(KINDS["appointments"].rows,)]
