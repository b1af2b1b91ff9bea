"""``rounds syncs``: what it shows, what it closes, and what it leaves alone."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from rounds.domain import Domain, Job
from rounds.resources import Resources
from rounds.sources import HttpSource
from rounds.syncs import SyncRun, reaping
from rounds.syncs.commands import COMMANDS
from rounds.syncs.config import Sync, SyncsSection
from rounds.syncs.log import Record
from rounds.syncs.reading import Reading
from support.commands import Cli, command_line
from support.databases import databases_for, sources_yaml
from support.syncs import SyncTable
from support.waiting import eventually

MakeTable = Callable[..., SyncTable]

SECTION = "syncs: [{name: clinic, source: s}]\n"
HOUR = 3600.0
PATIENT = "Jane Citizen"
PAGE = Path(__file__).parents[2] / "docs/syncs.md"


class Syncs(Domain):
    """The section and the commands alone."""

    name = "syncs"
    section = SyncsSection
    catalogue = ()
    commands = COMMANDS

    async def configure(self, section: Any | None, resources: Resources) -> Sequence[Job]:
        return []


@pytest.fixture
def cli_of(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Cli]:
    """The command line, of a source: its exit code and output, and where it failed its errors."""
    monkeypatch.setattr("rounds.cli.all_domains", lambda: [Syncs()])

    def of(source: Any, section: str = SECTION) -> Cli:
        return command_line("syncs", sources_yaml({"s": source}) + section, tmp_path, capfd)

    return of


@pytest.fixture
def cli(table: SyncTable, cli_of: Callable[..., Cli]) -> Cli:
    return cli_of(table.source)


def rows(table: SyncTable) -> dict[str, Record]:
    reading = Reading(Sync.model_validate({"name": "t", "source": "s"}), databases_for({"s": table.source}))
    with reading.open() as log:
        return {row.id: row for row in log.recent(0, 100)}


def put_running(table: SyncTable, silent: float, **values: Any) -> str:
    then = time.time() - silent
    return table.put(**{"status": "running", "started_at": then, "updated_at": then, **values})


# Closing


def test_what_was_given_up_is_closed(table: SyncTable, cli: Cli) -> None:
    metadata = {"step": "storing_patients", "total_patients": 648, "deactivated_patients": [PATIENT]}
    old = put_running(table, 30 * HOUR, metadata=metadata)
    blank = put_running(table, 30 * HOUR, metadata=None)
    alive = put_running(table, 30 * HOUR, metadata={"timestamp": _iso(time.time() - 60)}, updated_at=time.time() - 60)
    young = put_running(table, HOUR)
    ended = table.put(status="completed", started_at=time.time() - 40 * HOUR)
    strange = put_running(table, 30 * HOUR, status="stopped", completed_at=time.time() - 29 * HOUR)
    before = rows(table)
    code, said = cli("reap", "--dry-run")
    assert (code, rows(table)) == (0, before)
    whose = "clinic 1 full_patients" if table.shape == "seed" else "clinic org_1 full_patients"
    assert re.fullmatch(rf"({whose}: would close a run that has said nothing for 1d6h0?\d?m?s?\n){{2}}", said)
    code, said = cli("reap")
    assert code == 0
    assert said.count(": closed a run") == 2
    assert PATIENT not in said
    after = rows(table)
    for identity in (alive, young, ended, strange):
        assert after[identity] == before[identity]
    for identity in (old, blank):
        row = after[identity]
        assert (row.status, row.started, row.problems) == ("failed", before[identity].started, frozenset())
        assert row.completed == pytest.approx(time.time(), abs=60)
        assert row.metadata == {**before[identity].metadata, "error_type": "orphaned"}
        assert table.shape == "seed" or row.updated == pytest.approx(time.time(), abs=60)
    assert cli("reap") == (0, "clinic: no run has said nothing for longer than 1d\n")
    code, said = cli("reap", "--older-than=30m")
    assert said.count(": closed a run") == 1
    assert rows(table)[young].status == "failed"


def _iso(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(moment))


@pytest.mark.parametrize("missing", ["updated_at", "metadata", "completed_at"])
def test_columns_that_a_table_has_not(
    kind: Any, make_table: MakeTable, cli_of: Callable[..., Cli], missing: str
) -> None:
    table = make_table(kind, "real", without=[missing])
    identity = put_running(table, 30 * HOUR)
    assert cli_of(table.source)("reap")[0] == 0
    assert rows(table)[identity].status == "failed"


def test_metadata_that_is_no_object_stays(make_table: MakeTable, cli_of: Callable[..., Cli]) -> None:
    table = make_table("sqlite", "real")
    identity = put_running(table, 30 * HOUR, metadata="[1]")
    assert cli_of(table.source)("reap")[0] == 0
    assert rows(table)[identity].status == "failed"
    assert table.sql("SELECT metadata FROM sync_logs") == [("[1]",)]


@pytest.mark.parametrize("change", [{"status": "completed"}, {"metadata": {"step": "x"}}, {"records_success": 7}])
def test_a_row_that_changes_meanwhile_is_left_alone(
    table: SyncTable, cli: Cli, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    """Also where its time of change is not kept."""
    identity = put_running(table, 30 * HOUR)
    close = reaping._Table.close

    def late(*arguments: Any) -> bool:
        table.change(identity, **change)
        return close(*arguments)

    monkeypatch.setattr(reaping._Table, "close", late)
    assert cli("reap")[1].startswith("clinic: no run")
    assert rows(table)[identity].status == change.get("status", "running")


def test_other_systems_rows_are_left_alone(make_table: MakeTable, cli_of: Callable[..., Cli]) -> None:
    table = make_table("postgresql", "real")
    put_running(table, 30 * HOUR, source_system="clerk")
    assert cli_of(table.source)("reap")[1].startswith("clinic: no run")
    assert table.sql("SELECT status FROM sync_logs") == [("running",)]


def test_a_killed_program_leaves_a_row_that_is_closed(
    make_table: MakeTable, cli_of: Callable[..., Cli], kind: Any
) -> None:
    table = make_table(kind, "real")
    code = (
        "import os, sys; from rounds.syncs import SyncRun\n"
        "with SyncRun(sys.argv[1], organization='org_1', operation='full_patients') as run: os.kill(os.getpid(), 9)"
    )
    url = table.url.render_as_string(hide_password=False)
    subprocess.run([sys.executable, "-c", code, url], env={**os.environ, "PYTHONPATH": ":".join(sys.path)}, check=False)
    [row] = rows(table).values()
    assert row.status == "running"
    cli = cli_of(table.source, "syncs: [{name: clinic, source: s, stale_after: 500ms}]\n")
    assert eventually(lambda: "closed a run of" in cli("reap", "--older-than=500ms")[1] or _failed(table), every=0.2)
    [row] = rows(table).values()
    assert (row.status, row.metadata["error_type"], row.metadata["writer"]) == ("failed", "orphaned", "rounds")


def _failed(table: SyncTable) -> bool:
    return all(row.status == "failed" for row in rows(table).values())


def grants() -> list[tuple[str, str]]:
    """Privileges by user, as they are documented."""
    return re.findall(r"GRANT ([A-Z, ]+) ON sync_logs TO (\w+);", PAGE.read_text(encoding="utf-8"))


@pytest.mark.skipif(not PAGE.exists(), reason="the page comes with another part")
def test_the_documented_privileges_are_enough(
    request: pytest.FixtureRequest, make_table: MakeTable, cli_of: Callable[..., Cli]
) -> None:
    server = request.getfixturevalue("postgresql")
    table = make_table("postgresql", "real")
    database = table.source.database
    for privileges, user in {(p, u) for p, u in grants() if u in ("syncing", "reaper")}:
        server.sql(
            f"CREATE USER {user}_{database} PASSWORD 'pass'",
            f"GRANT {privileges} ON sync_logs TO {user}_{database}",
            database=database,
        )
    url = table.url.set(username=f"syncing_{database}", password="pass")
    with SyncRun(create_engine(url, poolclass=NullPool), organization="org_1", operation="full_patients") as run:
        run.stored()
    [row] = rows(table).values()
    assert row.status == "completed"
    put_running(table, 30 * HOUR)
    cli = cli_of(server.source(database, user=f"reaper_{database}", password="pass"))
    assert "closed a run" in cli("reap")[1]


def test_a_reader_may_look_and_not_close(
    request: pytest.FixtureRequest, kind: Any, make_table: MakeTable, cli_of: Callable[..., Cli]
) -> None:
    if kind == "sqlite":
        pytest.skip("a file has no users")
    server, table = request.getfixturevalue(kind), make_table(kind, "real")
    database = table.source.database
    user = f"looker_{database}"
    host = "@'127.0.0.1'" if kind == "mariadb" else ""
    word = "IDENTIFIED BY" if kind == "mariadb" else "PASSWORD"
    server.sql(
        f"CREATE USER {user}{host} {word} 'pass'", f"GRANT SELECT ON sync_logs TO {user}{host}", database=database
    )
    identity = put_running(table, 30 * HOUR, metadata={"deactivated_patients": [PATIENT]})
    cli = cli_of(server.source(database, user=user, password="pass"))
    assert cli("reap", "--dry-run")[1].count("would close") == 1
    assert cli("tail", "--once")[0] == 0
    code, said = cli("reap")
    assert code == 1
    assert "lacks a privilege" in said
    assert PATIENT not in said
    assert rows(table)[identity].status == "running"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["reap", "--older-than=5m"], "should be no shorter than 15m, stale_after of sync clinic"),
        (["reap", "--older-than=soon"], "should be a duration such as"),
        (["reap", "--sync=other"], "unknown sync other; known: clinic"),
        (["tail", "--sync=other"], "unknown sync other; known: clinic"),
    ],
)
def test_wrong_use_is_told(make_table: MakeTable, cli_of: Callable[..., Cli], words: list[str], message: str) -> None:
    code, said = cli_of(make_table("sqlite").source)(*words)
    assert code == 2
    assert message in said


@pytest.mark.parametrize("command", ["reap", "tail"])
def test_without_a_section_there_is_nothing_to_do(
    make_table: MakeTable, cli_of: Callable[..., Cli], command: str
) -> None:
    code, said = cli_of(make_table("sqlite").source, "")(command)
    assert code == 2
    assert "no such section" in said


def test_a_log_behind_an_api_cannot_be_closed(cli_of: Callable[..., Cli]) -> None:
    source = HttpSource.model_validate({"kind": "http", "url": "http://127.0.0.1:1"})
    section = "syncs: [{name: clinic, source: s, api: logs, organizations: {only: [a]}}]\n"
    code, said = cli_of(source, section)("reap")
    assert code == 1
    assert "behind an HTTP API, where rows cannot be closed" in said


# Watching


def test_what_is_under_way_is_shown_once(table: SyncTable, cli: Cli) -> None:
    assert cli("tail", "--once") == (0, "no run is under way\n")
    now = time.time()
    steps = {"step": "storing_patients", "total_patients": 648, "patients_processed": 324, "writer": "rounds"}
    put_running(table, 100, metadata={**steps, "current_page": 13, "total_pages": 13, "x": PATIENT})
    put_running(table, 1000, metadata={"step": "fetching_patients", "current_page": 2, "timestamp": _iso(now - 950)})
    put_running(table, 30 * HOUR)
    table.put()
    code, said = cli("tail", "--once")
    whose = "clinic 1 full_patients" if table.shape == "seed" else "clinic org_1 full_patients"
    assert code == 0
    stale, storing = said.splitlines()
    assert storing == f"{whose} [{'#' * 18}{'.' * 6}]  75% storing patients, 324 of 648, page 13 of 13"
    assert re.fullmatch(rf"{whose} \[#\.+\]   5% fetching patients, page 2, STALE for 1[56]m[0-9]+s", stale)


class Tail:
    """``rounds syncs tail`` as a program, and what it has printed so far."""

    def __init__(self, file: Path, *, terminal: bool) -> None:
        command = [sys.executable, "-m", "rounds", "syncs", "tail", f"--config.file={file}"]
        env = {**os.environ, "PYTHONPATH": ":".join(sys.path), "COLUMNS": "140", "LINES": "20"}
        if terminal:
            self._output, child = pty.openpty()
        else:
            self._output, child = os.pipe()
        self.process = subprocess.Popen(command, stdout=child, stderr=child, env=env)
        os.close(child)
        self.said = ""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            while data := os.read(self._output, 65_536):
                self.said += data.decode()
        except OSError:  # a terminal is closed by an error
            pass
        os.close(self._output)

    def end(self) -> int:
        """As Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(20)


@pytest.fixture
def tail(tmp_path: Path, make_table: MakeTable) -> Iterator[Callable[..., tuple[Tail, SyncTable]]]:
    tails = []

    def start(*, terminal: bool) -> tuple[Tail, SyncTable]:
        table = make_table("sqlite", "real")
        file = tmp_path / "rounds.yml"
        file.write_text(sources_yaml({"s": table.source}) + SECTION, encoding="utf-8")
        tails.append(Tail(file, terminal=terminal))
        return tails[-1], table

    yield start
    for each in tails:
        each.process.kill()
        each.process.wait()


def test_lines_tell_what_changes(tail: Callable[..., tuple[Tail, SyncTable]]) -> None:
    seen, table = tail(terminal=False)
    assert eventually(lambda: "no run is under way\n" in seen.said)
    with SyncRun(table.engine, organization="org_\x1b[2J", operation="full_patients") as run:
        run.found(648)
        run.step("storing_patients")
        run.stored(324)
        assert eventually(lambda: " 75% storing patients, 324 of 648\n" in seen.said)
        run.failed("constraint", 70)
        assert eventually(lambda: "394 of 648" in seen.said)
    assert eventually(lambda: "partial, 324 stored, 70 failed, took" in seen.said)
    assert eventually(lambda: seen.said.endswith("no run is under way\n"))
    assert "\x1b" not in seen.said
    assert seen.end() == 0


def test_a_terminal_has_a_bar_that_moves(tail: Callable[..., tuple[Tail, SyncTable]]) -> None:
    seen, table = tail(terminal=True)
    with SyncRun(table.engine, organization="org_1", operation="full_patients") as run:
        run.found(648)
        run.stored(65)
        deadline = time.monotonic() + 20
        while " left" not in seen.said and time.monotonic() < deadline:
            run.stored(5)
            time.sleep(0.1)
        assert re.search(r"\[#+\.+\]  \d\d% storing patients, \d+ of 648, [\d.]+/s, [\dms]+ left\r\n", seen.said)
        assert "\x1b[1A\x1b[J" in seen.said
    assert eventually(lambda: "completed" in seen.said)
    assert seen.end() == 0
