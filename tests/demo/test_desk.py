"""The simulated clinic's desktop program, and what stands around it."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rounds.demo import desk_room
from rounds.demo.desk import MODEL, Trouble
from rounds.demo.desk_room import KEPT, Clinic, Program
from rounds.demo.desk_script import SCRIPT, SCRIPT_SECONDS, Practice
from rounds.demo.desk_writer import main
from rounds.demo.ollama import Condition, Ollama
from rounds.demo.pacing import MADE, follow
from support.waiting import eventually

ROOT = Path(__file__).parents[2]


@pytest.fixture
def clinic(tmp_path: Path) -> Clinic:
    found = Clinic(tmp_path)
    found.prepare()
    return found


def asked(store: Path, statement: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(store)) as connection:
        return connection.execute(statement).fetchall()


def test_old_backups_go_and_each_is_a_whole_database(clinic: Clinic) -> None:
    for number in range(KEPT):
        (clinic.backups / f"backup_2026-01-0{number + 1}_00-00-00.db").touch()
    clinic.back_up()
    kept = sorted(each.name for each in clinic.backups.iterdir())
    assert len(kept) == KEPT
    assert asked(clinic.backups / kept[-1], "SELECT COUNT(*) FROM patients") == [(299,)]
    # What is there from an earlier demo goes.
    clinic.prepare()
    assert len(list(clinic.backups.iterdir())) == 1


def test_a_locked_database_lets_nobody_in_and_is_not_backed_up(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk_room, "_WAITS", 0.01)
    before = sorted(clinic.backups.iterdir())
    lock = clinic.lock(20)
    assert next(lock) == 20
    with (
        contextlib.closing(sqlite3.connect(clinic.file, timeout=0.01)) as connection,
        pytest.raises(sqlite3.OperationalError, match="locked"),
    ):
        connection.execute("SELECT 1 FROM patients")
    clinic.back_up()
    assert sorted(clinic.backups.iterdir()) == before
    assert list(lock) == []
    assert asked(clinic.file, "SELECT COUNT(*) FROM visits") == [(0,)]


@pytest.fixture
def practice(clinic: Clinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Practice]:
    monkeypatch.setattr(desk_room, "_LOOKS", 0.0)
    with Ollama((MODEL,)) as models:
        program = Program(tmp_path / "monitoring.db", f"127.0.0.1:{models.port}", 10.0)
        with contextlib.closing(program):
            program.start()
            yield Practice(clinic, program, models)


def counted(practice: Practice, name: str) -> dict[str, float]:
    rows = asked(
        practice.clinic.file.parent / "monitoring.db", f"SELECT labels, value FROM rounds_counter WHERE name = '{name}'"
    )
    return {str(labels): float(str(value)) for labels, value in rows if value}


def test_the_program_says_what_it_does_and_somebody_starts_it_again(
    practice: Practice, capsys: pytest.CaptureFixture[str]
) -> None:
    program = practice.program

    def has(name: str, labels: str) -> bool:
        return counted(practice, name).get(labels, 0) > 0

    def again(ending: str) -> bool:
        program.tend()
        said = capsys.readouterr().out
        told.append(said)
        return ending in "".join(told) and "starts it again" in said

    assert eventually(lambda: has("events_total", '["visits_saved"]'))
    names = ("search_latency", "llm_response", "prescription_generation", "consultation_duration", "save_visit")
    assert eventually(lambda: all(has("operations_total", f'["{name}","ok"]') for name in names))
    program.tell(Trouble.PRINTER, 60)
    assert eventually(lambda: has("errors_total", '["PrinterError","captured"]'))

    told: list[str] = []
    program.tell(Trouble.CRASH)
    assert eventually(lambda: again("has ended with code 1"))
    told.clear()
    program.kill()
    assert eventually(lambda: again("has ended by SIGKILL"))
    program.update()
    assert eventually(lambda: counted(practice, "crashes_total") == {'["python"]': 1, '["unclean"]': 1})
    store = practice.clinic.file.parent / "monitoring.db"
    runs = asked(store, "SELECT version, ending FROM rounds_run ORDER BY id")
    assert runs == [("4.0.0", "python"), ("4.0.0", "unclean"), ("4.0.0", "clean"), ("4.1.0", None)]


def test_a_server_that_is_gone_or_lacks_the_model_is_an_error(practice: Practice) -> None:
    practice.models.show(Condition.ABSENT)
    assert eventually(lambda: '["ConnectionRefusedError","captured"]' in counted(practice, "errors_total"))
    practice.models.models = ("another:1b",)
    practice.models.show(Condition.INSTALLED)
    assert eventually(lambda: '["ModelMissingError","captured"]' in counted(practice, "errors_total"))
    # Told once, however often it happens.
    assert counted(practice, "alerts_total") == {'["error","none"]': 1}


def test_a_program_that_is_killed_while_it_asks_is_not_told(capfd: pytest.CaptureFixture[str]) -> None:
    """A demo would show it as if it were a fault of its own."""
    with Ollama((MODEL,), answer_after=0.2) as models:
        for seconds in (0.05, 0.05, 5.0):
            connection = http.client.HTTPConnection("127.0.0.1", models.port, timeout=seconds)
            with contextlib.closing(connection), contextlib.suppress(TimeoutError):
                connection.request("POST", "/api/generate", json.dumps({"model": MODEL, "stream": False}))
                # So that writing to it fails.
                connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                assert connection.getresponse().status == http.HTTPStatus.OK
    assert len(models.requests) == 3
    assert capfd.readouterr().err == ""


def test_a_round_leaves_everything_as_it_was(clinic: Clinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one begins where this one began."""
    told: list[Trouble] = []
    program = Program(tmp_path / "monitoring.db", "127.0.0.1:1")
    monkeypatch.setattr(program, "tell", lambda trouble, _=0: told.append(trouble))
    for name in ("kill", "update"):
        monkeypatch.setattr(program, name, lambda: None)
    with Ollama((MODEL,)) as models:
        practice = Practice(clinic, program, models)
        follow(SCRIPT, lambda scene: scene.do(practice), lambda _: None, SCRIPT_SECONDS, 1.0)
        assert (models.models, models.condition) == ((MODEL,), Condition.INSTALLED)
    assert set(told) == set(Trouble)
    with contextlib.closing(sqlite3.connect(clinic.file, timeout=0.01)) as connection, connection:
        connection.execute("INSERT INTO visits (patient) VALUES (1)")


def test_the_script_is_in_order() -> None:
    times = [scene.at for scene in SCRIPT]
    assert times == sorted(times)
    assert times[-1] < SCRIPT_SECONDS
    # Something fails soon after the start.
    assert next(scene.at for scene in SCRIPT if scene.text) < 15


def test_the_process_begins_with_the_program_and_ends_it(tmp_path: Path) -> None:
    store, heartbeat = tmp_path / "docassist" / "monitoring.db", tmp_path / "heartbeat"
    flags = [f"--file={store}", f"--heartbeat={heartbeat}", "--models=127.0.0.1:0", "--speed=50"]
    with subprocess.Popen(
        [sys.executable, "-m", "rounds.demo.desk_writer", *flags],
        cwd=ROOT / "exporter",
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline().rstrip() == MADE
            while "stumbles over a form" not in (line := process.stdout.readline()):
                assert line.startswith("emr: ")
            process.terminate()
            assert process.wait(20) == 0
        finally:
            process.kill()
    assert heartbeat.exists()
    assert asked(store, "SELECT COUNT(*) FROM rounds_run WHERE ending IS NULL") == [(0,)]


@pytest.mark.parametrize("arguments", [[], ["--file=a.db"], ["--models=127.0.0.1:1"]])
def test_both_places_are_named(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "--file and --models" in capsys.readouterr().err
