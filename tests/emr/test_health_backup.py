"""Backups that are checked: real files, folders, archives and tables, in the zones of clinics."""

from __future__ import annotations

import json
import os
import sqlite3
import time
import zipfile
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from rounds.emr.health.backup import MANIFEST, REASONS, Backups
from rounds.emr.health.result import Health
from support.emr_health import holding

ZONE = ZoneInfo("America/Sao_Paulo")
HOUR = 3600.0
LAST = ("backup_last_success_timestamp_seconds", "backup")
SIZE, GOOD, COUNT = (("backup_last_bytes", "backup"), ("backup_last_ok", "backup"), ("backups", "backup"))
#: A day without a change of clocks anywhere.
NOW = datetime(2026, 5, 20, 15, 0, 0, tzinfo=UTC).timestamp()


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)


def stamp(ago: float, zone: Any = UTC) -> str:
    """The time so many seconds ago, as it stands in names."""
    return datetime.fromtimestamp(NOW - ago, zone).strftime("%Y-%m-%d_%H-%M-%S")


def zipped(path: Path, changed: float = 2 * HOUR, **manifest: object) -> Path:
    """An archive, last changed so many seconds ago."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("clinic.db", b"x" * 1000)
        if manifest:
            archive.writestr(MANIFEST, json.dumps(manifest))
    return aged(path, changed)


def aged(path: Path, ago: float) -> Path:
    os.utime(path, (NOW - ago, NOW - ago))
    return path


def check(folder: Path, **keys: Any) -> Health:
    return Backups(folder=folder, **{"zone": UTC, **keys}).run()


def verdict(health: Health) -> tuple[str, str]:
    return health.state, health.reason


# --- a folder ---------------------------------------------------------------------------------------------------------


def test_the_newest_by_the_time_in_its_name(tmp_path: Path) -> None:
    for ago in (50 * HOUR, 2 * HOUR, 26 * HOUR):
        # As after a copy of the whole folder.
        zipped(tmp_path / f"backup_{stamp(ago)}.zip", changed=0)
    newest = tmp_path / f"backup_{stamp(2 * HOUR)}.zip"
    health = check(tmp_path)
    assert verdict(health) == ("healthy", "")
    assert health.figures == {
        LAST: NOW - 2 * HOUR,
        SIZE: newest.stat().st_size,
        GOOD: 1,
        COUNT: 3,
        ("backup_configured", "backup"): 1,
        ("backup_max_age_seconds", "backup"): 86_400,
    }


def test_folders_are_backups_too(tmp_path: Path) -> None:
    for ago in (26 * HOUR, 3 * HOUR):
        backup = tmp_path / f"backup_{stamp(ago)}"
        (backup / "data").mkdir(parents=True)
        (backup / "data" / "clinic.db").write_bytes(b"x" * 700)
        (backup / MANIFEST).write_text("{}")
    health = check(tmp_path)
    assert (verdict(health), health.figures[LAST]) == (("healthy", ""), NOW - 3 * HOUR)
    assert health.figures[SIZE] == 702


@pytest.mark.parametrize("kind", ["zip", "folder"])
@pytest.mark.parametrize(
    ("created", "at"),
    [
        (datetime.fromtimestamp(NOW - HOUR, UTC).isoformat(), NOW - HOUR),
        (datetime.fromtimestamp(NOW - HOUR, ZONE).isoformat(), NOW - HOUR),
        (datetime.fromtimestamp(NOW - HOUR, ZONE).replace(tzinfo=None).isoformat(), NOW - HOUR),
        (NOW - HOUR, NOW - HOUR),
        ("yesterday", NOW - 5 * HOUR),
        (True, NOW - 5 * HOUR),
        (None, NOW - 5 * HOUR),
        (1e300, NOW - 5 * HOUR),
    ],
)
def test_a_manifest_tells_when_the_name_does_not(tmp_path: Path, kind: str, created: object, at: float) -> None:
    if kind == "zip":
        zipped(tmp_path / "backup_before_update.zip", 5 * HOUR, created_at=created)
    else:
        backup = tmp_path / "backup_x"
        backup.mkdir()
        (backup / MANIFEST).write_text(json.dumps({"created_at": created}))
        aged(backup / MANIFEST, 5 * HOUR)
        aged(backup, 5 * HOUR)
    health = check(tmp_path, zone=ZONE)
    assert health.figures[LAST] == pytest.approx(at)


def test_without_either_the_files_own_time_counts(tmp_path: Path) -> None:
    aged_file = tmp_path / "backup_a.tar"
    aged_file.write_bytes(b"x")
    aged(aged_file, 7 * HOUR)
    broken = tmp_path / "backup_b"
    broken.mkdir()
    (broken / MANIFEST).write_bytes(b"\xff{")
    aged(broken / MANIFEST, 9 * HOUR)
    aged(broken, 9 * HOUR)
    assert check(tmp_path).figures[LAST] == NOW - 7 * HOUR


def test_one_that_is_too_old_is_degraded(tmp_path: Path) -> None:
    zipped(tmp_path / f"backup_{stamp(25 * HOUR)}.zip")
    health = check(tmp_path)
    assert (verdict(health), health.figures[GOOD]) == (("degraded", "old"), 1)
    assert verdict(check(tmp_path, max_age=26 * HOUR)) == ("healthy", "")
    assert "25 h" in health.text


def test_none_at_all_is_degraded_and_has_no_time(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    zipped(tmp_path / "other.zip")
    health = check(tmp_path)
    assert (verdict(health), health.figures[COUNT]) == (("degraded", "none"), 0)
    assert LAST not in health.figures
    assert GOOD not in health.figures
    health = check(tmp_path / "gone")
    assert (verdict(health), LAST in health.figures) == (("degraded", "missing"), False)
    assert check(tmp_path / "notes.txt").reason == "missing"
    assert health.figures["backup_configured", "backup"] == 1


@pytest.mark.parametrize("name", ["backup_{}.zip.tmp", "backup_{}.zip.part", ".backup_{}.zip", "backup_{}.zip~"])
@pytest.mark.parametrize("changed", [10.0, 5 * HOUR])
def test_what_is_not_in_its_place_yet_is_no_backup(tmp_path: Path, name: str, changed: float) -> None:
    zipped(tmp_path / name.format(stamp(10)), changed)
    assert verdict(check(tmp_path, pattern="*backup_*")) == ("degraded", "none")


def cut_off(path: Path) -> None:
    zipped(path)
    path.write_bytes(path.read_bytes()[:-30])


@pytest.mark.parametrize(
    ("suffix", "make"),
    [
        (".zip", lambda path: path.touch()),
        (".encrypted.zip", lambda path: path.touch()),
        (".zip", cut_off),
        ("", lambda path: path.mkdir()),
    ],
    ids=["empty", "empty and encrypted", "cut off", "empty folder"],
)
def test_one_that_is_half_written_is_no_success(tmp_path: Path, suffix: str, make: Callable[[Path], None]) -> None:
    zipped(tmp_path / f"backup_{stamp(20 * HOUR)}.zip")
    newest = tmp_path / f"backup_{stamp(60)}{suffix}"
    make(newest)
    aged(newest, 60)
    health = check(tmp_path)
    assert (verdict(health), health.figures[LAST]) == (("healthy", ""), NOW - 20 * HOUR), "it is being made"
    assert (health.figures[GOOD], health.figures[COUNT]) == (1, 1)
    aged(newest, 2 * HOUR)
    health = check(tmp_path)
    assert (verdict(health), health.figures[LAST]) == (("unhealthy", "incomplete"), NOW - 20 * HOUR), "it was given up"
    assert health.figures[GOOD] == 0


def test_an_encrypted_archive_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / f"backup_{stamp(HOUR)}.encrypted.zip"
    path.write_bytes(os.urandom(500))
    assert (verdict(check(tmp_path)), check(tmp_path).figures[SIZE]) == (("healthy", ""), 500)


# --- times ------------------------------------------------------------------------------------------------------------


def test_names_are_in_the_applications_zone(tmp_path: Path) -> None:
    zipped(tmp_path / f"backup_{stamp(3 * HOUR, ZONE)}.zip")
    assert check(tmp_path, zone=ZONE).figures[LAST] == NOW - 3 * HOUR
    assert check(tmp_path, zone=UTC).figures[LAST] == NOW - 6 * HOUR


@pytest.mark.parametrize("local", ["UTC", "Asia/Kolkata", "America/New_York"])
def test_without_a_zone_it_is_the_computers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local: str) -> None:
    zipped(tmp_path / f"backup_{stamp(3 * HOUR, ZoneInfo(local))}.zip")
    monkeypatch.setenv("TZ", local)
    time.tzset()
    try:
        assert check(tmp_path, zone=None).figures[LAST] == NOW - 3 * HOUR
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("name", "zone", "utc"),
    [
        # Clocks are put back at 02:00 on 1 November 2026, so 01:30 comes twice: the earlier.
        ("2026-11-01_01-30-00", "America/New_York", "2026-11-01T05:30:00"),
        ("2026-11-01_00-59-59", "America/New_York", "2026-11-01T04:59:59"),
        ("2026-11-01_02-00-00", "America/New_York", "2026-11-01T07:00:00"),
        # They are put forward at 02:00 on 8 March 2026, so 02:30 does not come: as before the change.
        ("2026-03-08_02-30-00", "America/New_York", "2026-03-08T07:30:00"),
        ("2026-03-08_03-00-00", "America/New_York", "2026-03-08T07:00:00"),
        ("2026-01-15_12-00-00", "Asia/Kolkata", "2026-01-15T06:30:00"),
    ],
)
def test_changes_of_clocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, zone: str, utc: str) -> None:
    at = datetime.fromisoformat(utc).replace(tzinfo=UTC)
    monkeypatch.setattr(time, "time", (at + timedelta(hours=5)).timestamp)
    zipped(tmp_path / f"backup_{name}.zip")
    assert check(tmp_path, zone=ZoneInfo(zone)).figures[LAST] == at.timestamp()


def test_a_time_that_has_not_come_is_not_believed(tmp_path: Path) -> None:
    zipped(tmp_path / f"backup_{stamp(-3 * HOUR)}.zip", changed=2 * HOUR)
    health = check(tmp_path)
    assert (verdict(health), health.figures[LAST]) == (("degraded", "future"), NOW - 2 * HOUR), (
        "the file's own is taken"
    )
    aged(next(tmp_path.iterdir()), -HOUR)
    health = check(tmp_path)
    assert (verdict(health), LAST in health.figures) == (("degraded", "future"), False)
    zipped(tmp_path / f"backup_{stamp(5 * HOUR)}.zip")
    assert check(tmp_path).figures[LAST] == NOW - 5 * HOUR
    assert check(tmp_path, max_age=HOUR).reason == "old"


def test_a_clock_that_is_a_little_ahead_is_borne(tmp_path: Path) -> None:
    zipped(tmp_path / f"backup_{stamp(-60)}.zip")
    assert verdict(check(tmp_path)) == ("healthy", "")


@pytest.mark.parametrize("name", ["backup_2026-02-30_10-00-00.zip", "backup_2026-13-01_10-00-00.zip", "backup_1.zip"])
def test_a_name_that_is_no_time(tmp_path: Path, name: str) -> None:
    zipped(tmp_path / name, 4 * HOUR)
    assert check(tmp_path).figures[LAST] == NOW - 4 * HOUR


# --- a table ----------------------------------------------------------------------------------------------------------


def table(path: Path, *rows: tuple[object, ...], columns: str = "timestamp, status, size_bytes") -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"CREATE TABLE backups ({columns})")
        connection.executemany(f"INSERT INTO backups VALUES ({', '.join('?' * len(columns.split(',')))})", rows)
        connection.commit()
    return path


def check_table(path: Path, **keys: Any) -> Health:
    return Backups(table=path, **{"zone": ZONE, "timeout": 0.3, **keys}).run()


def local(ago: float) -> str:
    """As the existing program writes it."""
    return datetime.fromtimestamp(NOW - ago, ZONE).replace(tzinfo=None).isoformat()


def test_a_table_is_read(tmp_path: Path) -> None:
    path = table(tmp_path / "m.db", (local(30 * HOUR), "completed", 10), (local(4 * HOUR), "completed", 20))
    health = check_table(path)
    assert verdict(health) == ("healthy", "")
    assert (health.figures[LAST], health.figures[SIZE], health.figures[COUNT]) == (NOW - 4 * HOUR, 20, 2)


def test_a_last_row_that_failed_is_unhealthy(tmp_path: Path) -> None:
    path = table(tmp_path / "m.db", (local(4 * HOUR), "completed", 20), (local(HOUR), "failed: Ram Kumar", None))
    health = check_table(path)
    assert (verdict(health), health.figures[LAST]) == (("unhealthy", "status"), NOW - 4 * HOUR)
    assert (health.figures[GOOD], SIZE in health.figures) == (0, False)
    assert "Ram Kumar" not in health.text
    assert verdict(check_table(path, status="failed: Ram Kumar")) == ("healthy", "")


def test_the_newest_good_row_is_found_behind_many_that_failed(tmp_path: Path) -> None:
    failed = [(local(HOUR + number), "failed", 1) for number in range(1500)]
    health = check_table(table(tmp_path / "m.db", (local(50 * HOUR), "completed", 1), *failed))
    assert (health.reason, health.figures[LAST], health.figures[COUNT]) == ("status", NOW - 50 * HOUR, 1501)


def test_times_in_a_table(tmp_path: Path) -> None:
    utc = datetime.fromtimestamp(NOW - 3 * HOUR, UTC).isoformat()
    path = table(tmp_path / "m.db", (local(4 * HOUR), "completed", 1), (utc, "completed", 1), ("soon", "completed", 1))
    assert check_table(path).figures[LAST] == NOW - 3 * HOUR
    numbers = table(tmp_path / "n.db", (NOW - 2 * HOUR, "completed", "x"), (NOW - 9 * HOUR, "completed", 1))
    assert check_table(numbers).figures[LAST] == NOW - 2 * HOUR
    ahead = table(tmp_path / "a.db", (local(-2 * HOUR), "completed", 1), (local(HOUR), "completed", 1))
    health = check_table(ahead)
    assert (verdict(health), health.figures[LAST]) == (("degraded", "future"), NOW - HOUR)


def test_a_table_without_rows_or_file(tmp_path: Path) -> None:
    assert verdict(check_table(table(tmp_path / "m.db"))) == ("degraded", "none")
    health = check_table(tmp_path / "gone.db")
    assert (verdict(health), LAST in health.figures) == (("degraded", "missing"), False)
    assert not (tmp_path / "gone.db").exists()


@pytest.mark.parametrize("content", ["other columns", "no table", "garbage", "no time"])
def test_a_table_that_cannot_be_read(tmp_path: Path, content: str) -> None:
    path = tmp_path / "m.db"
    if content == "garbage":
        path.write_bytes(b"garbage" * 1000)
    elif content == "no table":
        sqlite3.connect(path).close()
    elif content == "no time":
        table(path, ("Ram Kumar", "completed", 1))
    else:
        table(path, (1, 2), columns="timestamp, patient")
    health = check_table(path)
    assert verdict(health) == ("degraded", "unreadable")
    assert "Ram Kumar" not in health.text


def test_a_locked_table_does_not_make_backups_disappear(tmp_path: Path) -> None:
    path = table(tmp_path / "m.db", (local(4 * HOUR), "completed", 20))
    checked = Backups(table=path, zone=ZONE, timeout=0.3)
    assert checked.run().state == "healthy"
    with holding(path, "BEGIN EXCLUSIVE"):
        health = checked.run()
    assert (verdict(health), health.figures[LAST]) == (("degraded", "unreadable"), NOW - 4 * HOUR)
    path.unlink()
    assert LAST not in checked.run().figures


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_a_folder_that_takes_too_long(tmp_path: Path) -> None:
    zipped(tmp_path / f"backup_{stamp(HOUR)}.zip")
    assert verdict(check(tmp_path, timeout=-1)) == ("degraded", "unreadable")


def test_figures_carry_the_name(tmp_path: Path) -> None:
    figures = check(tmp_path, name="nightly").figures
    assert {key[1:] for key in figures} == {("nightly",)}


def test_it_has_one_place(tmp_path: Path) -> None:
    for place in (None, tmp_path):
        with pytest.raises(ValueError, match="one of"):
            Backups(folder=place, table=place)


@pytest.fixture(autouse=True)
def _reasons_are_of_the_closed_list(monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[[Backups], Health] = Backups.run

    def run(self: Backups) -> Health:
        health = real(self)
        assert health.reason in ("", *REASONS)
        assert bool(health.reason) is (health.state != "healthy")
        assert health.text
        assert not [place for place in (self._folder, self._table) if place and str(place) in health.text]
        return health

    monkeypatch.setattr(Backups, "run", run)
