"""The section ``state``, the ledger in the exporter, and the commands that concern it."""

from __future__ import annotations

import argparse
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import Column, Integer, LargeBinary, MetaData, String, Table, insert, update

from ledger.conftest import Open, state_of
from rounds import cli
from rounds.commands import Command
from rounds.domain import Domain, Job
from rounds.errors import CollectorError, ConfigError
from rounds.exporter import Exporter
from rounds.fields import Secret
from rounds.ledger import counters
from rounds.ledger.cursors import Cursor
from rounds.ledger.ledger import Ledger
from rounds.ledger.schema import VERSIONS, Schema
from rounds.ledger.settings import State
from rounds.metrics import Family, Metric
from rounds.resources import Resources
from rounds.threads import in_daemon_thread
from support.mariadb import ROOT_PASSWORD
from support.postgresql import ADMIN_PASSWORD

SERVER = {"user": "rounds", "salt_file": "salt"}
SECRET = "s3cr3t-never-shown"


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"url": "oracle://h/d"}, "should start with sqlite://, mariadb:// or postgresql://"),
        ({"url": "state.db"}, "should start with sqlite://"),
        ({"url": 7}, "put it in quotes"),
        ({"url": f"mariadb://rounds:{SECRET}@h/d", **SERVER}, "should hold no user or password"),
        ({"url": f"mysql://{SECRET}@h/d", **SERVER}, "should hold no user or password"),
        ({"url": f"postgresql://h/d?password={SECRET}", **SERVER}, "nothing behind the database's name"),
        ({"url": "mariadb://h", **SERVER}, "should name a server and a database"),
        ({"url": "mariadb:///d", **SERVER}, "should name a server and a database"),
        ({"url": "mariadb://h:x/d", **SERVER}, "should name a server and a database"),
        ({"url": "mariadb://h/d/e", **SERVER}, "should name a server and a database"),
        ({"url": "sqlite://"}, "should name a file"),
        ({"url": "sqlite:///:memory:"}, "should name a file"),
        ({"url": "sqlite:////var/lib/"}, "should name a file"),
        ({"url": "sqlite:////x.db", "user": "a"}, "a SQLite file has none"),
        ({"url": "sqlite:////x.db", "password": SECRET}, "a SQLite file has none"),
        ({"url": "mariadb://h/d", "salt_file": "salt"}, "is required with a server"),
        ({"url": "mariadb://h/d", "user": "a"}, "the salt is kept apart from the ledger"),
        ({"url": "mariadb://h/d", **SERVER, "password": "a", "password_file": __file__}, "cannot stand beside"),
    ],
)
def test_refusals(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        State.model_validate(section)
    assert message in str(caught.value)
    assert SECRET not in str(caught.value)


def test_defaults() -> None:
    state = State()
    assert state.path == Path("/var/lib/rounds/state.db")
    assert state.salt_path == Path("/var/lib/rounds/state.db.salt")


def test_credentials_may_hold_any_character() -> None:
    password = "p@ss/w:rd%40?#"
    url = State(
        url="mysql://[::1]:3307/rounds", user="a@b", password=Secret(password), salt_file=Path("salt")
    ).engine_url
    assert (url.drivername, url.host, url.port, url.database) == ("mysql+pymysql", "::1", 3307, "rounds")
    assert (url.username, url.password) == ("a@b", password)
    assert password not in repr(url)


THINGS = MetaData()
TOTAL = Table(
    "things_total",
    THINGS,
    Column("id", Integer, primary_key=True),
    Column("name", String(20)),
    Column("pairs", LargeBinary),
    info={"exported": True},
)
Table("things_bucket", THINGS, Column("id", Integer, primary_key=True), Column("pairs", LargeBinary))
COUNTED = Metric("rounds_things_total", "counter", "Things.")


class Things(Domain):
    """Counts its runs in the ledger."""

    name = "things"
    section = dict[str, str]
    catalogue = (COUNTED,)
    schema = Schema("things", THINGS)

    async def configure(self, section: Any | None, resources: Resources) -> Sequence[Job]:
        if section is None:
            return []
        if "early" in section:
            resources.ledger()

        def work() -> list[Family]:
            with resources.ledger().writing() as connection:
                counters.add(connection, COUNTED.name, (), 1)
                return [COUNTED.family(counters.load(connection, COUNTED.name).items())]

        async def collect() -> Sequence[Family]:
            return await in_daemon_thread(work, "things")

        return [Job("things", "things", 3600, 30, 7200, collect)]

    @staticmethod
    def _count(options: argparse.Namespace, section: Any, resources: Resources) -> int:
        if options.fail == "config":
            raise ConfigError(["--fail: makes no sense"])
        if options.fail == "run":
            raise CollectorError("connect", "it does not answer")
        with resources.ledger().writing() as connection:
            counters.add(connection, COUNTED.name, (), options.by)
        print(section)
        return 0

    @staticmethod
    def _arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--by", type=int, default=1)
        parser.add_argument("--fail")

    commands = (
        Command(("things", "count"), "count things", _arguments, _count),
        Command(("thing",), "count one", _arguments, _count),
    )


class Others(Domain):
    """Needs no ledger."""

    name = "others"
    section = dict[str, str]
    catalogue = ()

    async def configure(self, section: Any | None, resources: Resources) -> Sequence[Job]:
        async def collect() -> Sequence[Family]:
            return []

        return [] if section is None else [Job("others", "others", 3600, 30, 7200, collect)]


NewExporter = Callable[..., Exporter]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration of both domains with a ledger in a file beside it."""
    path = tmp_path / "rounds.yml"
    path.write_text("state: {url: 'sqlite:///state.db'}\nthings: {}\nothers: {}\n", encoding="utf-8")
    return path


@pytest.fixture
def exporter(file: Path) -> Iterator[Exporter]:
    """One that has not been started."""
    found = Exporter([file], [Things(), Others()])
    yield found
    if hasattr(found._loop, "_loop"):
        found.stop()


def shown(exporter: Exporter) -> dict[str, float]:
    """Metrics without labels."""
    lines = exporter.render(openmetrics=False, gzip=False).decode().splitlines()
    plain = (line.partition(" ") for line in lines if not line.startswith("#") and "{" not in line)
    return {name: float(value) for name, _, value in plain}


async def test_one_run_counts_in_the_ledger_and_tells_how_it_fares(file: Path, tmp_path: Path) -> None:
    for count in (1, 2):
        exporter = Exporter([file], [Things(), Others()])
        assert await exporter.run_once(lambda _: True)
        found = shown(exporter)
        assert found["rounds_things_total"] == count
    assert found["rounds_ledger_up"] == 1
    assert found["rounds_ledger_commits_total"] == 1
    assert found["rounds_ledger_quarantined_files"] == 0
    assert found["rounds_ledger_size_bytes"] >= 4096
    assert found["rounds_ledger_last_commit_timestamp_seconds"] - found["rounds_ledger_created_timestamp_seconds"] >= 0
    assert (tmp_path / "state.db.salt").exists()


async def test_a_configuration_that_keeps_nothing_makes_no_ledger(file: Path, tmp_path: Path) -> None:
    file.write_text("others: {}\n", encoding="utf-8")
    exporter = Exporter([file], [Things(), Others()])
    assert await exporter.run_once(lambda _: True)
    assert not [name for name in shown(exporter) if name.startswith("rounds_ledger")]
    assert [each.name for each in tmp_path.iterdir()] == ["rounds.yml"]


async def test_a_ledger_that_fails_fails_no_other_job(file: Path, tmp_path: Path) -> None:
    exporter = Exporter([file], [Things(), Others()])
    assert await exporter.run_once(lambda _: True)
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection:
        connection.execute("DROP TABLE ledger_counters")
    exporter = Exporter([file], [Things(), Others()])
    assert not await exporter.run_once(lambda _: True)
    statuses = {job.name: status for job, status in exporter.jobs}
    assert statuses["things"].reason == "internal"
    assert "the ledger refused a statement" in (statuses["things"].error or "")
    assert statuses["others"].state == "ok"
    assert shown(exporter)["rounds_ledger_up"] == 0


def test_a_reload_goes_over_to_another_ledger_and_back_where_it_is_refused(
    exporter: Exporter, file: Path, tmp_path: Path
) -> None:
    text = "state: {url: 'sqlite:///NAME'}\nthings: {early: yes-please}\n"
    file.write_text(text.replace("NAME", "state.db"), encoding="utf-8")
    exporter.start()
    exporter.reload()
    first = exporter._keeper.ledger()
    exporter.reload()
    assert exporter._keeper.ledger() is first
    file.write_text(text.replace("NAME", "missing/state.db"), encoding="utf-8")
    with pytest.raises(ConfigError, match="missing"):
        exporter.reload()
    assert [job.name for job, _ in exporter.jobs] == ["things"]
    assert exporter._keeper.ledger()._store.folder == tmp_path
    with exporter._keeper.ledger().writing():
        pass
    file.write_text(text.replace("NAME", "other.db"), encoding="utf-8")
    exporter.reload()
    with exporter._keeper.ledger().writing():
        pass
    assert (tmp_path / "other.db").exists()
    with pytest.raises(CollectorError, match="closed"), first.writing():
        pass


def test_a_ledger_that_is_refused_ends_the_start(exporter: Exporter, file: Path) -> None:
    file.write_text("state: {url: 'sqlite:///missing/state.db'}\nthings: {early: yes-please}\n", encoding="utf-8")
    broken = Exporter([file], [Things()])
    with pytest.raises(ConfigError, match=r"^state\.salt_file: "):
        broken.start()
    broken.stop()


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch, file: Path) -> Callable[..., int]:
    """The command line with these domains."""
    monkeypatch.setattr(cli, "all_domains", lambda: [Things(), Others()])
    return lambda *words: cli.main([*words, f"--config.file={file}"])


def test_commands_of_domains(rounds: Callable[..., int], file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rounds("things", "count", "--by=2") == 0
    assert rounds("thing", "--log.level=error") == 0
    assert capsys.readouterr().out == "{}\n{}\n"
    assert rounds("things", "count", "--log.level=debug") == 0
    assert "ledger_counters" not in capsys.readouterr().err
    assert rounds("things", "count", "--fail=config") == 2
    assert capsys.readouterr().err == "--fail: makes no sense\n"
    assert rounds("things", "count", "--fail=run") == 1
    assert capsys.readouterr().err == "rounds: it does not answer\n"
    file.write_text(file.read_text(encoding="utf-8").replace("things: {}\n", ""), encoding="utf-8")
    assert rounds("things", "count") == 0
    assert capsys.readouterr().out == "None\n"
    for words in (["things"], ["things", "recount"], ["things", "count", "--by=x"]):
        with pytest.raises(SystemExit) as caught:
            rounds(*words)
        assert caught.value.code == 2


def checked(rounds: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    return rounds("ledger", "check"), capsys.readouterr().out


def test_check_of_a_file(
    rounds: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], opened: Open
) -> None:
    code, out = checked(rounds, capsys)
    assert code == 1
    assert "there is no ledger" in out
    assert not (tmp_path / "state.db").exists()
    rounds("thing")
    capsys.readouterr()
    code, out = checked(rounds, capsys)
    assert code == 0, out
    assert "schema: things version 1\n" in out
    assert out.endswith("good\n")
    (tmp_path / "state.db").chmod(0o644)
    (tmp_path / "state.db.salt").chmod(0o644)
    (tmp_path / "state.db.corrupt-20260101T000000Z").touch()
    code, out = checked(rounds, capsys)
    assert code == 1
    assert out.count("problem: ") == 3
    assert "its mode should be 0600" in out
    ledger = opened(State.model_validate({"url": f"sqlite:///{tmp_path / 'state.db'}"}))
    with ledger.writing() as connection:
        connection.execute(update(VERSIONS).values(version=7))
        connection.exec_driver_sql("DROP TABLE things_bucket")
    code, out = checked(rounds, capsys)
    assert "things was written by a newer version of Rounds" in out
    ledger.close()
    (tmp_path / "state.db").write_bytes(b"other text" * 1000)
    code, out = checked(rounds, capsys)
    assert code == 1
    assert "the file is damaged" in out
    assert (tmp_path / "state.db").read_bytes() == b"other text" * 1000
    assert rounds("ledger", "export") == 1
    assert "is damaged" in capsys.readouterr().err


def fill(ledger: Ledger) -> None:
    cursor = Cursor("things/rows", grace=60)
    cursor.begin(0, "a", 3)
    cursor.take([1, 3])
    with ledger.writing() as connection:
        counters.add(connection, COUNTED.name, ("São Paulo",), 7)
        cursor.save(connection, 0)
        connection.execute(insert(TOTAL), [{"id": number, "name": "x", "pairs": b"blob"} for number in range(3)])


def test_export(rounds: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], opened: Open) -> None:
    ledger = opened(State.model_validate({"url": f"sqlite:///{tmp_path / 'state.db'}"}), Things.schema)
    fill(ledger)
    capsys.readouterr()
    assert rounds("ledger", "export", "--format=json") == 0
    out = capsys.readouterr().out
    assert ledger.salt not in out
    assert "blob" not in out
    found = json.loads(out)
    assert found["schema"] == {"ledger": 1, "things": 1}
    assert found["rows"] == {
        "ledger_counters": 1,
        "ledger_cursors": 1,
        "ledger_schema": 2,
        "things_bucket": 0,
        "things_total": 3,
    }
    assert found["tables"]["ledger_counters"] == [{"name": COUNTED.name, "labels": '["São Paulo"]', "value": 7.0}]
    assert [row["name"] for row in found["tables"]["ledger_cursors"]] == ["things/rows"]
    assert found["tables"]["things_total"][2] == {"id": 2, "name": "x"}
    assert set(found["tables"]) == {"ledger_counters", "ledger_cursors", "things_total"}


SECRETS = {"mariadb": ROOT_PASSWORD, "postgresql": ADMIN_PASSWORD}


@pytest.mark.parametrize("place", ["mariadb", "postgresql"])
def test_check_and_export_of_a_server(
    place: str,
    request: pytest.FixtureRequest,
    rounds: Callable[..., int],
    file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = file.parent
    state = state_of(place, folder, request)
    (folder / "password").write_text(SECRETS[place], encoding="utf-8")
    keys = f"url: '{state.url}', user: {state.user}, password_file: password, salt_file: salt"
    file.write_text(f"state: {{{keys}}}\nthings: {{}}\n", encoding="utf-8")
    code, out = checked(rounds, capsys)
    assert code == 1
    assert "the database holds no ledger" in out
    assert rounds("thing", "--by=7") == 0
    capsys.readouterr()
    code, out = checked(rounds, capsys)
    assert code == 0, out
    assert "size: " in out
    assert rounds("ledger", "export") == 0
    out = capsys.readouterr().out
    assert SECRETS[place] not in out
    assert json.loads(out)["tables"]["ledger_counters"][0]["value"] == 7
