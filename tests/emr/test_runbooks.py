"""The statements that the runbooks ask for run as they stand on both kinds of stores, and show nobody's name."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest

from rounds.cli import main
from rounds.emr import layout
from support.emr import ExistingStore, LibraryStore

RUNBOOKS = sorted((Path(__file__).parents[2] / "docs" / "runbooks").glob("Emr*.md"))
NAME = "Nora Quimby"
#: A table of backups is in a file of its own.
BACKUPS = "CREATE TABLE backups (timestamp TEXT, status TEXT, size_bytes INTEGER)"


def statements(runbook: Path) -> list[str]:
    blocks = re.findall(r"^```sql\n(.+?)^```", runbook.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [statement.strip() for block in blocks for statement in block.split(";") if statement.strip()]


CASES = [
    pytest.param(runbook, statement, id=f"{runbook.stem}-{number}")
    for runbook in RUNBOOKS
    for number, statement in enumerate(statements(runbook))
]


def tables(statement: str) -> set[str]:
    return set(re.findall(r"(?:FROM|JOIN) (\w+)", statement))


@pytest.fixture(scope="module")
def existing(tmp_path_factory: pytest.TempPathFactory) -> ExistingStore:
    """One with a patient's name wherever one may be."""
    store = ExistingStore(tmp_path_factory.mktemp("existing") / "monitoring.db")
    people: dict[str, Any] = {
        "user_id": NAME,
        "user_data": {"name": NAME},
        "context": {"patient": NAME},
        "tags": {"patient": NAME},
    }
    store.error(error_message=NAME, stack_trace=NAME, **people)
    store.message(message=NAME, context=NAME)
    store.timing("search_latency_ms", 1500, tags={"patient": NAME})
    store.transaction("save_visit")
    store.alert("error", title=NAME, message=NAME, context=NAME, dedupe_key="failure:save_visit")
    store.crash(exception_message=NAME)
    store.sql(BACKUPS)
    store.sql("INSERT INTO backups VALUES ('2026-01-31T18:00:00', 'completed', 1000)")
    return store


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> LibraryStore:
    """One in which messages were opted in, so that names may be there too."""
    store = LibraryStore(tmp_path_factory.mktemp("library") / "monitoring.db")
    now = time.time()
    group = "00112233445566aa"
    store.operation("save_visit", 1.5, "error", at=now - 60)
    store.counter("telemetry_dropped_total", "queue_full", by=7)
    place = {"culprit": "clinic.visits:save", "trace": "clinic.visits:save:12"}
    store.insert(
        "rounds_error_group",
        **{"fingerprint": group, "error_type": "ValueError", "message": NAME, "count": 1, **place},
        first_seen=now - 60,
        last_seen=now - 60,
        version="2.1.0",
    )
    store.insert(
        "rounds_error_slot", slot=int(now - 60) // layout.SLOT_SECONDS, fingerprint="00112233445566aa", count=1
    )
    store.insert(
        "rounds_alert",
        at=now,
        severity="error",
        key="failure:save",
        title=NAME,
        message=NAME,
        channels='["notification"]',
    )
    crash = {"id": "20260131_180000_1_00112233", "kind": "python", "error_type": "ValueError", "report": "crash_1.json"}
    store.insert("rounds_crash", at=now, fingerprint=group, **crash)
    store.run(now - 90, heartbeat=now - 60, ended=now, ending="unclean")
    store.insert("rounds_spool", at=now, kind="crash", crash=crash["id"], body=b"{}", next_attempt=now)
    return store


@pytest.mark.parametrize(("runbook", "statement"), CASES)
def test_a_statement_runs_and_shows_no_name(
    runbook: Path, statement: str, existing: ExistingStore, library: LibraryStore
) -> None:
    asked = tables(statement)
    own = asked <= set(layout.TABLES)
    assert own or asked <= {*layout.EXISTING, "backups"}, "the two may be two files"
    rows = (library if own else existing).sql(statement)
    assert rows, f"{runbook.stem}: it finds what it is for"
    assert all(any(value is not None for value in row) for row in rows)
    assert NAME not in repr(rows)


@pytest.mark.parametrize(("runbook", "statement"), CASES)
def test_a_statement_only_reads_and_names_its_columns(runbook: Path, statement: str) -> None:
    """What is run in haste is pasted somewhere, and the application may be writing."""
    assert statement.startswith("SELECT ")
    assert "*" not in statement.replace("count(*)", "")
    forbidden = r"\b(error_message|message|title|stack_trace|context|user_id|user_data|tags|exception_message)\b"
    assert not re.search(forbidden, statement)


def test_most_alerts_have_a_statement() -> None:
    assert len(RUNBOOKS) == 17
    assert len({runbook for runbook in RUNBOOKS if statements(runbook)}) >= 10


@pytest.mark.parametrize("runbook", RUNBOOKS, ids=lambda runbook: str(runbook.stem))
def test_commands_exist(runbook: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = runbook.read_text(encoding="utf-8")
    for words in re.findall(r"(?:`|^)rounds ((?:[a-z][a-z-]* ?)+)(?:--([a-z]+))?", text, re.MULTILINE):
        command, option = words[0].split(), words[1]
        with pytest.raises(SystemExit) as ended:
            main([*command, "--help"])
        assert ended.value.code == 0, command
        said = capsys.readouterr().out
        assert not option or f"--{option}" in said, (command, option)
