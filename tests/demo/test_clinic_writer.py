"""The process that synchronises the simulated clinics."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from rounds.demo.clinic_writer import main
from rounds.demo.pacing import MADE

ROOT = Path(__file__).parents[2]


def test_it_makes_a_past_says_so_and_goes_on(tmp_path: Path) -> None:
    file, heartbeat = tmp_path / "syncs.db", tmp_path / "heartbeat"
    command = [sys.executable, "-m", "rounds.demo.clinic_writer", f"--file={file}", "--speed=50"]
    with subprocess.Popen(
        [*command, f"--heartbeat={heartbeat}"], cwd=ROOT / "exporter", stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline().rstrip() == MADE
            assert process.stdout.readline().rstrip() == "syncs: harbour synchronises its 648 patients"
            while process.stdout.readline().rstrip() != "syncs: some of harbour's patients cannot be stored":
                pass
            process.terminate()
            assert process.wait(10) == 0
        finally:
            process.kill()
    assert heartbeat.exists()
    with contextlib.closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT COUNT(*) FROM sync_logs WHERE status = 'skipped'").fetchone() == (1,)


@pytest.mark.parametrize("arguments", [[], ["--file=a.db", "--postgresql=localhost:5432"]])
def test_one_database_is_named(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "--postgresql or --file" in capsys.readouterr().err
