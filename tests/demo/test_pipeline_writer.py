"""The process that runs the synthetic pipeline, and the exporter that reads it."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from rounds.demo.pacing import MADE
from rounds.demo.pipeline_writer import main

ROOT = Path(__file__).parents[2]


def test_it_makes_a_past_says_so_and_goes_on(tmp_path: Path) -> None:
    file, heartbeat = tmp_path / "apr.db", tmp_path / "heartbeat"
    command = [sys.executable, "-m", "rounds.demo.pipeline_writer", f"--file={file}", "--speed=200"]
    with subprocess.Popen(
        [*command, f"--heartbeat={heartbeat}"], cwd=ROOT / "exporter", stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline().rstrip() == MADE
            assert process.stdout.readline().rstrip() == "apr: 4 proposals come in"
            while process.stdout.readline().rstrip() != "apr: a run fails":
                pass
            process.terminate()
            assert process.wait(10) == 0
        finally:
            process.kill()
    assert heartbeat.exists()
    with contextlib.closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT COUNT(*) FROM apr_invalid_records WHERE is_resolved = 0").fetchone()[0] > 0


@pytest.mark.parametrize("arguments", [[], ["--file=a.db", "--mariadb=localhost:3306"]])
def test_one_database_is_named(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "--mariadb or --file" in capsys.readouterr().err
