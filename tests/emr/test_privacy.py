"""A patient's name, put wherever a program can put one, is found nowhere that the library writes or sends to."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from rounds.emr.app import lookout
from support.emr_looking import Watch
from support.emr_sink import Answer, Sink, sink

PROGRAM = Path(__file__).parents[1] / "support/emr_indiscreet.py"
PATIENT = "Zebedee Quillfeather"
PARTS = ("zebedee", "quillfeather")


def found(content: bytes) -> list[str]:
    """Parts of the name in it, in any case and in the encodings that Python and SQLite write."""
    texts = [content.lower(), content.replace(b"\0", b"").lower()]
    return [part for part in PARTS if any(part.encode() in text for text in texts)]


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def run(folder: Path, ending: str, environment: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    package = Path(lookout.__file__).parents[3]
    own = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    return subprocess.run(
        [sys.executable, str(PROGRAM), ending],
        cwd=folder,
        env={**own, "PYTHONPATH": os.pathsep.join([str(package), str(folder / "site")]), **environment},
        capture_output=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "app"
    (made / "site").mkdir(parents=True)
    (made / "site/sentry_sdk.py").touch()
    return made


def environment(taken: Sink) -> dict[str, str]:
    return {
        "PATIENT": PATIENT,
        "CRASH_REPORT_URL": taken.url(),
        "SENTRY_DSN": f"http://abc@127.0.0.1:{taken.port}/42",
        # No desktop of whoever runs the tests: showing the title there is what a notification is for.
        "PATH": "/nonexistent",
    }


def test_a_patients_name_is_nowhere(folder: Path, tmp_path: Path) -> None:
    offline: list[Answer] = [(503, {})] * 10_000
    with sink(offline) as taken:
        done = run(folder, "fatal", environment(taken))
        assert done.returncode == -signal.SIGSEGV, done.stderr.decode()
        # The name was really there.
        assert found(done.stderr) == list(PARTS)
        left = files(folder)
        assert [name for name, content in left.items() if found(content)] == []
        names = set(left)
        assert {"data/monitoring.db", "data/monitoring.db-wal", "log.txt", "metrics.txt"} <= names
        assert [name for name in names if name.startswith("data/crash_reports/fatal_")]
        assert b"rounds_emr_operations_total" in left["metrics.txt"]

        done = run(folder, "crash", environment(taken))
        assert done.returncode == 1, done.stderr.decode()
        left = files(folder)
        assert [name for name, content in left.items() if found(content)] == []
        reports = [name for name in left if name.startswith("data/crash_reports/crash_")]
        assert len(reports) == 2
        assert taken.got
        assert [body for body in taken.bodies if found(body)] == []
        assert [each.path for each in taken.got if found(str(each.headers).encode() + each.path.encode())] == []

    told = Watch(folder / "data/monitoring.db", tmp_path).look()
    assert told.total("errors_total") > 100
    assert told.counted("crashes_total") == {"python": 1, "fatal_signal": 1}
    samples = [(family.metric.name, family.samples) for family in told.families.values()]
    assert not found(str(samples).encode())
    assert not [name for name, content in files(tmp_path).items() if name.startswith("state.db") and found(content)]

    with closing(sqlite3.connect(folder / "data/monitoring.db")) as store:
        # Decompressed, decoded and joined: no row has it either.
        tables = [name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        assert not found(
            "\n".join(str(row) for table in tables for row in store.execute(f"SELECT * FROM {table}")).encode()
        )
        # And what there was to tell is there.
        types = {error_type for (error_type,) in store.execute("SELECT error_type FROM rounds_error_group")}
        assert {"IntegrityError", "FileNotFoundError", "AssertionError", "ExceptionGroup", "UserWarning"} <= types
        assert "_other" in types
        kinds = {kind for (kind,) in store.execute("SELECT DISTINCT kind FROM rounds_spool")}
        assert kinds == {"crash", "sentry"}
        ((alerts,),) = store.execute("SELECT count(*) FROM rounds_alert")
        assert alerts > 2 * 12
        sources = store.execute("SELECT DISTINCT labels FROM rounds_counter WHERE name = 'errors_total'").fetchall()
    said = " ".join(labels for (labels,) in sources)
    for source in ("captured", "main", "thread", "executor", "asyncio", "unraisable"):
        assert f'"{source}"' in said
