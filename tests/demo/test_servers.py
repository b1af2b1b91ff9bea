"""The servers that the demo starts, and what becomes of those that cannot be started."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest

from rounds.demo import servers
from rounds.demo.clinic_writer import PASSWORD
from rounds.demo.ports import LOOPBACK, pick_port
from rounds.demo.servers import Mariadb, NoServerError, Place, Postgresql, Server
from support import processes
from support.binaries import require_binary
from support.postgresql import require_postgresql

BOTH = pytest.mark.parametrize("kind", [Mariadb, Postgresql])


def installed(kind: type[Server]) -> None:
    if kind is Mariadb:
        require_binary("mariadbd")
    else:
        require_postgresql()


@asynccontextmanager
async def running(kind: type[Server], folder: Path) -> AsyncIterator[Place]:
    installed(kind)
    server = kind(folder, pick_port)
    try:
        yield await server.start()
    finally:
        await server.stop()


def login(place: Place, user: str, password: str) -> Any:
    given: dict[str, Any] = {"host": LOOPBACK, "port": place.port, "user": user, "password": password}
    if place.kind == "mariadb":
        return pymysql.connect(database=place.database, autocommit=True, **given)
    return psycopg.connect(dbname=place.database, autocommit=True, **given)


def script(folder: Path, name: str, text: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    file.chmod(0o755)


@BOTH
async def test_each_user_has_a_password_that_nobody_knows_and_no_more_rights_than_in_containers(
    kind: type[Server], tmp_path: Path
) -> None:
    async with running(kind, tmp_path) as place:
        passwords = {user: file.read_text(encoding="utf-8") for user, file in place.passwords.items()}
        assert passwords.keys() == {"rounds", "grafana", place.writer}
        assert len({*passwords.values()}) == 3
        assert {file.stat().st_mode & 0o777 for file in place.passwords.values()} == {0o600}
        assert place.source()["password_file"] == str(place.passwords["rounds"])
        with login(place, place.writer, passwords[place.writer]) as connection:
            cursor = connection.cursor()
            cursor.execute("CREATE TABLE sheet (id INTEGER)")
            cursor.execute("INSERT INTO sheet VALUES (1)")
        with login(place, "rounds", passwords["rounds"]) as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT id FROM sheet")
            assert cursor.fetchone() == (1,)
            with pytest.raises((pymysql.MySQLError, psycopg.Error), match="denied"):
                cursor.execute("DELETE FROM sheet")
        with pytest.raises((pymysql.MySQLError, psycopg.Error), match=r"denied|authentication failed|no password"):
            login(place, "rounds", PASSWORD)
        with pytest.raises((pymysql.MySQLError, psycopg.Error), match=r"denied|authentication failed|no password"):
            login(place, "root", "")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files that everybody may enter; pytest's own are closed."""
    with processes.folder("rounds-made-") as made:
        made.chmod(0o755)
        monkeypatch.setattr("tempfile.tempdir", str(made))
        yield made


@BOTH
async def test_nothing_of_it_is_left(kind: type[Server], made: Path) -> None:
    async with running(kind, made) as place:
        assert list(made.glob(f"rounds-demo-{place.kind}-*"))
    assert not list(made.glob(f"rounds-demo-{place.kind}-*"))
    with socket.create_server((LOOPBACK, place.port)):
        pass


@BOTH
async def test_one_that_is_not_installed_is_named_with_its_package(
    kind: type[Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(servers, "FOLDERS", ())
    with pytest.raises(
        NoServerError, match=f"{kind.name} is not installed: run `apt-get install {kind.package}` first"
    ):
        await kind(tmp_path, pick_port).start()


async def test_one_without_its_driver_is_not_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_postgresql()
    monkeypatch.setattr(Postgresql, "driver", "no_such_driver")
    with pytest.raises(NoServerError, match=r"run `pip install 'rounds-exporter\[postgresql\]'` first"):
        await Postgresql(tmp_path, pick_port).start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's demo needs another user")
@BOTH
async def test_root_without_another_user_has_none(
    kind: type[Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(kind)

    def nobody(name: str) -> None:
        raise KeyError(name)

    monkeypatch.setattr("pwd.getpwnam", nobody)
    with pytest.raises(NoServerError, match=f"{kind.name} does not run as root, and there is no user {kind.account}"):
        await kind(tmp_path, pick_port).start()


@BOTH
async def test_the_reason_of_one_that_cannot_be_set_up_is_told(
    kind: type[Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for program in (kind.installer, kind.program):
        script(tmp_path, program, "echo 'starting'; echo 'no space left on device'; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(Server, "_unprivileged", lambda _: "")
    with pytest.raises(NoServerError, match=f"^{kind.name} cannot be started: no space left on device$"):
        await kind(tmp_path, pick_port).start()
    assert not list(tmp_path.glob(f"rounds-demo-{kind.kind}-*"))


@BOTH
async def test_another_server_on_its_port_is_not_taken_for_it(kind: type[Server], tmp_path: Path) -> None:
    installed(kind)
    other, mine = tmp_path / "other", tmp_path / "mine"
    other.mkdir()
    mine.mkdir()
    async with running(kind, other) as place:
        server = kind(mine, lambda: place.port)
        with pytest.raises(NoServerError, match=r"cannot be started: .*(?i:error|fatal)"):
            await server.start()
