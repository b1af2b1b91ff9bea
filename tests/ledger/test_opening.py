"""What happens before the first transaction: files, modes, salt, schema versions, damage."""

from __future__ import annotations

import base64
import os
import sqlite3
import stat
import sys
from pathlib import Path

import pytest
from sqlalchemy import Column, Connection, Integer, MetaData, String, Table, insert, inspect, text, update

from ledger.conftest import Open, together
from rounds.errors import CollectorError, ConfigError
from rounds.ledger.ledger import Ledger, store_of
from rounds.ledger.salt import read_salt
from rounds.ledger.schema import VERSIONS, Schema, versions_of
from rounds.ledger.settings import State

THINGS = MetaData()
Table("things_one", THINGS, Column("id", Integer, primary_key=True), Column("name", String(20)))
FIRST = Schema("things", THINGS)


def path_of(state: State) -> Path:
    assert state.path is not None
    return state.path


def versions(ledger: Ledger) -> dict[str, int]:
    with ledger.reading() as connection:
        return versions_of(connection)


def leased(state: State) -> dict[str, int]:
    """Only on a server can exporters share a ledger."""
    return {"lease": 1} if state.path is None else {}


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def test_a_fresh_ledger_has_the_tables_of_all_components(state: State, opened: Open) -> None:
    ledger = opened(state, FIRST)
    assert versions(ledger) == {"ledger": 1, "things": 1} | leased(state) | leased(state)
    with ledger.reading() as connection:
        assert inspect(connection).has_table("things_one")
    assert ledger.up
    assert ledger.created is not None
    assert ledger.size is not None
    assert ledger.size > 0
    again = opened(state, FIRST)
    assert again.created == ledger.created
    assert again.salt == ledger.salt


def test_older_ledgers_are_migrated_step_by_step(state: State, opened: Open) -> None:
    with opened(state, FIRST).writing() as connection:
        connection.execute(text("INSERT INTO things_one (id, name) VALUES (1, 'kept')"))

    def second(connection: Connection) -> None:
        connection.execute(text("ALTER TABLE things_one ADD COLUMN size INTEGER"))

    def third(connection: Connection) -> None:
        connection.execute(text("UPDATE things_one SET size = 7"))

    ledger = opened(state, Schema("things", THINGS, (second,)))
    assert versions(ledger)["things"] == 2
    ledger = opened(state, Schema("things", THINGS, (second, third)))
    assert versions(ledger)["things"] == 3
    with ledger.reading() as connection:
        assert connection.execute(text("SELECT name, size FROM things_one")).all() == [("kept", 7)]


def test_a_fresh_component_is_not_migrated(state: State, opened: Open) -> None:
    def never(_: Connection) -> None:
        raise AssertionError

    assert versions(opened(state, Schema("things", THINGS, (never,))))["things"] == 2


def test_a_ledger_of_a_newer_version_is_refused_and_left_alone(state: State, opened: Open) -> None:
    ledger = opened(state, FIRST)
    with ledger.writing() as connection:
        connection.execute(update(VERSIONS).where(VERSIONS.c.component == "things").values(version=9))
    with pytest.raises(ConfigError, match=r"written by a newer version of Rounds \(things\)"):
        opened(state, FIRST)
    assert versions(ledger)["things"] == 9


def test_a_failed_migration_leaves_a_file_as_it_was(sqlite_state: State, opened: Open) -> None:
    opened(sqlite_state, FIRST)

    def fails(connection: Connection) -> None:
        connection.execute(text("CREATE TABLE things_two (id INTEGER)"))
        connection.execute(text("INSERT INTO nowhere VALUES (1)"))

    ledger = opened(sqlite_state, Schema("things", THINGS, (fails,)))
    with pytest.raises(CollectorError), ledger.reading():
        pass
    ledger = opened(sqlite_state, FIRST)
    assert versions(ledger)["things"] == 1
    with ledger.reading() as connection:
        assert not inspect(connection).has_table("things_two")


def test_exporters_may_start_together(state: State, opened: Open) -> None:
    def start() -> None:
        with opened(state, FIRST).writing() as connection:
            connection.execute(insert(THINGS.tables["things_one"]), {"name": "x"})

    together(*[start] * 6)
    ledger = opened(state, FIRST)
    assert versions(ledger) == {"ledger": 1, "things": 1} | leased(state)
    with ledger.reading() as connection:
        assert connection.execute(text("SELECT COUNT(*) FROM things_one")).scalar() == 6


def test_nobody_else_may_read_the_files(sqlite_state: State, opened: Open) -> None:
    before = os.umask(0)
    try:
        ledger = opened(sqlite_state, FIRST)
    finally:
        os.umask(before)
    path = path_of(sqlite_state)
    names = {file.name: mode(file) for file in path.parent.iterdir()}
    assert names == dict.fromkeys(("state.db", "state.db-wal", "state.db-shm", "state.db.salt"), 0o600)
    ledger.close()
    path.chmod(0o644)
    opened(sqlite_state, FIRST)
    assert mode(path) == 0o600


def test_a_lost_write_ahead_log_is_not_replayed_into_a_new_file(sqlite_state: State, opened: Open) -> None:
    path = path_of(sqlite_state)
    ledger = opened(sqlite_state, FIRST)
    with ledger.writing() as connection:
        connection.execute(text("INSERT INTO things_one (id) VALUES (1)"))
    # As after a crash in the middle of moving a damaged file aside.
    (path.parent / "kept").write_bytes(Path(f"{path}-wal").read_bytes())
    ledger.close()
    path.unlink()
    (path.parent / "kept").rename(f"{path}-wal")
    with opened(sqlite_state, FIRST).reading() as connection:
        assert connection.execute(text("SELECT COUNT(*) FROM things_one")).scalar() == 0


def damage_head(path: Path) -> None:
    path.write_bytes(b"this is no database at all, but some other text\n" * 400)


def damage_pages(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for at in range(4096, len(data), 512):
        data[at : at + 64] = os.urandom(64)
    path.write_bytes(data)


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2 // 4096 * 4096])


@pytest.mark.parametrize("damage", [damage_head, damage_pages, cut])
def test_a_damaged_file_is_moved_aside_and_a_new_one_begun(
    sqlite_state: State, opened: Open, damage: object, capsys: pytest.CaptureFixture[str]
) -> None:
    path = path_of(sqlite_state)
    ledger = opened(sqlite_state, FIRST)
    with ledger.writing() as connection:
        connection.execute(insert(THINGS.tables["things_one"]), [{"name": str(number)} for number in range(5000)])
    ledger.close()
    salt = ledger.salt
    assert callable(damage)
    damage(path)
    remains = path.read_bytes()
    ledger = opened(sqlite_state, FIRST)
    (aside,) = ledger.quarantined
    assert aside.name.startswith("state.db.corrupt-2")
    assert aside.read_bytes() == remains
    assert mode(path) == 0o600
    assert ledger.salt == salt
    with ledger.reading() as connection:
        assert connection.execute(text("SELECT COUNT(*) FROM things_one")).scalar() == 0
    assert "the ledger is damaged and is moved aside" in capsys.readouterr().out


def test_an_empty_file_is_a_fresh_ledger(sqlite_state: State, opened: Open) -> None:
    path_of(sqlite_state).touch()
    ledger = opened(sqlite_state, FIRST)
    assert ledger.quarantined == []
    assert mode(path_of(sqlite_state)) == 0o600


def test_a_locked_file_is_not_taken_for_a_damaged_one(
    sqlite_state: State, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rounds.ledger.sqlite.LOCK_WITHIN", 0.1)
    opened(sqlite_state, FIRST).close()
    holder = sqlite3.connect(path_of(sqlite_state), isolation_level=None)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    ledger = opened(sqlite_state, FIRST)
    assert not ledger.up
    with pytest.raises(CollectorError, match="the ledger is locked"), ledger.reading():
        pass
    holder.close()
    with ledger.reading():
        pass
    assert ledger.up
    assert ledger.quarantined == []


def test_a_folder_that_does_not_exist_is_told(tmp_path: Path, opened: Open) -> None:
    with pytest.raises(
        ConfigError, match=r"^state\.salt_file: .*missing/state.db.salt cannot be read or made: No such"
    ):
        opened(State.model_validate({"url": f"sqlite:///{tmp_path}/missing/state.db"}))
    state = State.model_validate({"url": f"sqlite:///{tmp_path}/missing/state.db", "salt_file": tmp_path / "salt"})
    with pytest.raises(
        ConfigError, match=r"^state\.url: .*missing/state.db cannot be opened: No such file or directory"
    ):
        opened(state)


def test_the_salt_is_made_once_and_lasts(tmp_path: Path) -> None:
    file = tmp_path / "salt"
    salts: list[str] = []
    together(*[lambda: salts.append(read_salt(file))] * 8)
    assert len(set(salts)) == 1
    assert len(base64.urlsafe_b64decode(salts[0] + "==")) == 16
    assert mode(file) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["salt"]


def test_a_salt_behind_a_broken_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "salt").symlink_to(tmp_path / "missing" / "salt")
    with pytest.raises(ConfigError, match="cannot be read or made: No such file"):
        read_salt(tmp_path / "salt")
    assert [each.name for each in tmp_path.iterdir()] == ["salt"]


def test_a_driver_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    url, salt = "postgresql://127.0.0.1/rounds", tmp_path / "salt"
    with pytest.raises(ConfigError, match=r"psycopg is not installed; install rounds-exporter\[postgresql\]"):
        store_of(State.model_validate({"url": url, "user": "a", "salt_file": salt}))


@pytest.mark.parametrize("content", ["", "\n", "abc\n", "z z" * 30, "ä" * 64])
def test_a_file_without_a_salt_is_refused_and_kept(tmp_path: Path, content: str) -> None:
    file = tmp_path / "salt"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"^state\.salt_file: "):
        read_salt(file)
    assert file.read_text(encoding="utf-8") == content


def test_a_salt_that_others_can_read_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "salt"
    salt = read_salt(file)
    assert "other users" not in capsys.readouterr().out
    file.chmod(0o640)
    assert read_salt(file) == salt
    told = capsys.readouterr().out
    assert "the salt can be read by other users" in told
    assert salt not in told


def test_the_salt_is_not_in_the_ledger(sqlite_state: State, opened: Open) -> None:
    ledger = opened(sqlite_state, FIRST)
    path = path_of(sqlite_state)
    held = path.read_bytes() + Path(f"{path}-wal").read_bytes()
    assert ledger.salt.encode() not in held
    assert base64.urlsafe_b64decode(ledger.salt + "==") not in held
