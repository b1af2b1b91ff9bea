"""``rounds apr``: what it writes, what it says, and what it does not say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect

from rounds.apr.commands import COMMANDS
from rounds.apr.config import AprSection
from rounds.apr.metrics import TABLES
from rounds.apr.tables import LATE_COLUMNS
from rounds.domain import Domain, Job
from rounds.resources import Resources
from support.apr import DAY, Installation, mariadb_installation
from support.commands import Cli, command_line
from support.databases import sources_yaml
from support.mariadb import MariadbServer

REPOSITORY = Path(__file__).parents[2]


class Apr(Domain):
    """The section and the commands alone."""

    name = "apr"
    section = AprSection
    catalogue = ()
    commands = COMMANDS

    async def configure(self, section: Any | None, resources: Resources) -> Sequence[Job]:
        return []


@pytest.fixture
def cli_of(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Cli]:
    """The command line, of an installation: its exit code and output, and where it failed its errors."""
    monkeypatch.setattr("rounds.cli.all_domains", lambda: [Apr()])

    def of(source: Any, section: str = "apr: {source: pipeline}\n") -> Cli:
        return command_line("apr", sources_yaml({"pipeline": source}) + section, tmp_path, capfd)

    return of


@pytest.fixture
def cli(installation: Installation, cli_of: Callable[..., Cli]) -> Cli:
    return cli_of(installation.source)


def open_record(installation: Installation, **values: object) -> None:
    key = {"DATA": DAY.isoformat(), "PROPOSTA": 1, "CEDENTE": "Segredo Ltda", "GERENTE": "Ana", "PRODUTO": "Segredo X"}
    installation.many("apr_invalid_records", [{**key, "VALIDATION_TYPE": "SEUNO", "is_resolved": 0, **values}])


def content(installation: Installation) -> list[Any]:
    return [installation.sql(f"SELECT * FROM {name}") for name in TABLES]


def test_missing_tables_are_made(installation: Installation, cli: Cli) -> None:
    installation.sql("DROP TABLE apr_proposal_products", "DROP TABLE apr_daily_summary")
    present = set(inspect(installation.engine).get_table_names())
    code, said = cli("create-tables", "--dry-run")
    assert code == 0
    assert "CREATE TABLE apr_daily_summary" in said
    assert set(inspect(installation.engine).get_table_names()) == present
    assert cli("create-tables") == (
        0,
        "apr_proposal_products: made\napr_daily_summary: made\nrounds_apr_marks: made\n",
    )
    assert set(inspect(installation.engine).get_table_names()) == {*TABLES, "rounds_apr_marks"}
    assert cli("create-tables") == (0, "")


def test_what_older_tables_lack_is_told_and_left(mariadb: MariadbServer, cli_of: Callable[..., Cli]) -> None:
    older = mariadb_installation(mariadb, late=False, cheque=False)
    code, said = cli_of(older.source)("create-tables")
    assert code == 0
    assert said.splitlines() == [
        "rounds_apr_marks: made",
        "apr_invalid_records: VALIDATION_TYPE lacks CHEQUE",
        f"apr_valid_records: lacks {', '.join(LATE_COLUMNS)}",
    ]


def test_backfill_is_of_the_latest_date_or_one_or_all_since(installation: Installation, cli: Cli) -> None:
    for day in range(3):
        installation.sight(day, "Pago", day=DAY - timedelta(days=day))
    before = content(installation)
    assert cli("backfill", "--dry-run") == (0, "2026-03-06: would write 1 rows of history and the summary\n")
    assert content(installation) == before
    assert cli("backfill") == (0, "2026-03-06: wrote 1 rows of history and the summary\n")
    assert cli("backfill", "--date=2026-03-05")[1].startswith("2026-03-05: wrote 1 ")
    code, said = cli("backfill", "--since=2026-03-01")
    assert code == 0
    assert [line.split(" rows")[0] for line in said.splitlines()] == [
        "2026-03-04: wrote 1",
        "2026-03-05: wrote 0",
        "2026-03-06: wrote 0",
    ]
    assert installation.one("SELECT COUNT(*) FROM apr_daily_summary") == 3


def test_a_summary_is_written(installation: Installation, cli: Cli) -> None:
    installation.sight(1, "Pago")
    before = content(installation)
    code, said = cli("summarize", "--dry-run")
    assert (code, content(installation)) == (0, before)
    assert "total_proposals       1" in said
    assert cli("summarize") == (0, said.replace("would write", "wrote"))
    assert installation.one("SELECT total_proposals FROM apr_daily_summary") == 1


def test_records_are_resolved(installation: Installation, cli: Cli) -> None:
    open_record(installation)
    installation.age("apr_invalid_records", "detected_at", 60)
    installation.sight(1, client="Segredo Ltda")
    before = content(installation)
    assert cli("resolve", "--dry-run") == (0, "2026-03-06: would resolve 1 invalid records\n")
    assert content(installation) == before
    assert cli("resolve") == (0, "2026-03-06: resolved 1 invalid records\n")
    assert cli("resolve") == (0, "2026-03-06: resolved 0 invalid records\n")


def test_old_rows_are_deleted(installation: Installation, cli: Cli) -> None:
    open_record(installation, DATA="2020-01-01")
    before = content(installation)
    code, said = cli("cleanup", "--dry-run")
    assert (code, content(installation)) == (0, before)
    assert "apr_invalid_records: would delete 1 rows" in said
    assert cli("cleanup", "--retention-days=90000")[1] == said.replace("would delete 1", "deleted 0").replace(
        "would delete", "deleted"
    )
    assert cli("cleanup") == (0, said.replace("would delete", "deleted"))
    assert installation.one("SELECT COUNT(*) FROM apr_invalid_records") == 0


def test_names_are_shown_only_when_asked_for(installation: Installation, cli: Cli) -> None:
    open_record(installation, detected_at="2026-03-06 10:00:00")
    for proposal, status in ((1, "Pago"), (2, "assinado "), (3, None)):
        installation.sight(proposal, status)
    installation.many(
        "apr_processing_log",
        [{"target_date": "2026-03-06", "execution_time_seconds": 2, "error_message": "lost 'Segredo'\x1b[2J"}],
    )
    code, said = cli("show")
    assert code == 0
    assert "SEUNO  1     1          2026-03-06 10:00:00" in said
    assert [line.split()[:2] for line in said.splitlines()[6:9]] == [["assinado", "1"], ["pago", "1"], ["other", "1"]]
    assert "lost ??[2J" in said
    assert "Segredo" not in said
    code, said = cli("show", "--names")
    assert code == 0
    assert "Segredo Ltda  Ana" in said


def test_empty_tables_can_be_shown(cli: Cli) -> None:
    code, said = cli("show")
    assert (code, said.count("none")) == (0, 3)


@pytest.mark.parametrize("command", ["backfill", "summarize", "resolve"])
def test_without_proposals_there_is_no_current_date(cli: Cli, command: str) -> None:
    code, said = cli(command)
    assert code == 1
    assert "say --date" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["backfill", "--date=today"], "no date such as"),
        (["backfill", "--date=2026-03-06", "--since=2026-03-06"], "not allowed with"),
        (["cleanup", "--retention-days=-1"], "no number of days"),
    ],
)
def test_wrong_use_is_told(cli: Cli, words: list[str], message: str) -> None:
    code, said = cli(*words)
    assert code == 2
    assert message in said


@pytest.mark.parametrize("command", ["create-tables", "show"])
def test_without_a_section_there_is_nothing_to_do(
    installation: Installation, cli_of: Callable[..., Cli], command: str
) -> None:
    code, said = cli_of(installation.source, "")(command)
    assert code == 2
    assert "no such section" in said


def test_a_reader_may_look_and_not_write(
    mariadb: MariadbServer, on_mariadb: Installation, cli_of: Callable[..., Cli]
) -> None:
    database = on_mariadb.source.database
    mariadb.sql(
        "CREATE OR REPLACE USER looker@'127.0.0.1' IDENTIFIED BY 'pass of looker'",
        f"GRANT SELECT ON `{database}`.* TO looker@'127.0.0.1'",
    )
    on_mariadb.sight(1, client="Segredo Ltda")
    cli = cli_of(mariadb.source(database, user="looker", password="pass of looker"))
    assert cli("show", "--names")[0] == 0
    assert cli("summarize", "--dry-run")[0] == 0
    for command in (["create-tables"], ["backfill"], ["summarize"], ["resolve"], ["cleanup"]):
        code, said = cli(*command)
        assert code == 1, command
        assert "1142" in said
        assert "pass of looker" not in said
        assert "Segredo" not in said
    code, said = cli_of(mariadb.source(database, user="looker", password="wrong"))("resolve")
    assert code == 1
    assert "access denied" in said


def test_a_server_that_is_not_there_is_told(mariadb: MariadbServer, cli_of: Callable[..., Cli]) -> None:
    code, said = cli_of(mariadb.source("test", port=1))("resolve")
    assert code == 1
    assert "nothing accepts connections there" in said


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path, cli_of: Callable[..., Cli]) -> None:
    from rounds.sources import SqliteSource  # noqa: PLC0415

    file = tmp_path / "none.db"
    code, said = cli_of(SqliteSource.model_validate({"kind": "sqlite", "path": file}))("create-tables")
    assert code == 1
    assert "cannot be opened" in said
    assert not file.exists()


def test_nothing_but_commands_can_write_to_sources() -> None:
    """Collectors read, whatever else they do."""
    package = REPOSITORY / "exporter/rounds"
    using = {
        str(file.relative_to(package))
        for file in package.rglob("*.py")
        if "databases.writing" in file.read_text(encoding="utf-8")
    }
    # The demo's pipeline is a program of its own.
    assert using == {"apr/commands.py", "demo/pipeline_writer.py", "syncs/reaping.py"}
