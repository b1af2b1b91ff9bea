"""Whether there is a backup, how old the newest good one is, and whether the newest one is good."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import sqlite3
import stat
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

from rounds.emr.health.amounts import size as told_size
from rounds.emr.health.amounts import span
from rounds.emr.health.opening import STEPS, read
from rounds.emr.health.result import Health

#: Why backups are not healthy: no folder or file where they should be; it cannot be read; there is no backup; the
#: newest one failed; the newest one was never finished; the newest good one is too old; its time has not come yet.
REASONS = ("missing", "unreadable", "none", "status", "incomplete", "old", "future")

MANIFEST = "backup_manifest.json"
_MANIFEST_LIMIT = 1024 * 1024
#: A clock beside this one may be so many seconds ahead.
_AHEAD = 300.0
#: A backup that is not complete, and was written to so many seconds ago, is being made.
_BEING_MADE = 3600.0
_TIME = re.compile(r"(\d{4}-\d{2}-\d{2})[_T ](\d{2})[-:](\d{2})[-:](\d{2})", re.ASCII)
#: Names of files that a program has not put in their place yet.
_UNFINISHED = (".tmp", ".temp", ".part", ".partial", ".crdownload", "~")
#: Rows that are looked at, newest first.
_ROWS = 1000
_EARLIEST, _LATEST = 0.0, datetime(9999, 1, 1, tzinfo=UTC).timestamp()


@dataclass(frozen=True)
class _Backup:
    """One backup. ``fault`` is "" for a good one, else a reason; ``ahead`` is whether its time has not come yet."""

    at: float
    size: float | None
    fault: str
    ahead: bool


class _LookError(Exception):
    """Backups cannot be looked at. ``reason`` is one of :data:`REASONS`; the text is for people."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Backups:
    """The check of one place where backups are made, with what it keeps from one run to the next.

    In a folder, a backup is a file or a folder whose name fits the pattern. Its time is the one in its name
    (``2026-01-31_18-00-00``), else its manifest's ``created_at``, else the file's own. Empty ones and archives that
    are cut off are none; for an hour after they were last written to they are taken for being made, after that for
    failed. What is in an encrypted archive (``.encrypted.``) cannot be seen.

    Times without a zone are of ``zone``; one that a change of clocks makes ambiguous is the earlier. A time that lies
    more than five minutes ahead is not believed: the file's own is taken, a row is passed over, and the check is
    degraded, as a wrong zone would hide that backups are too old.

    Args:
        folder: where backups are; or
        table: a SQLite file with the table ``backups`` (timestamp, status, size_bytes). A timestamp is ISO 8601 or
            seconds since 1970.
        name: what they are called in figures.
        pattern: which of the folder's entries are backups: a shell's pattern.
        status: the status of a good row.
        zone: of times without one; None for this computer's.
        max_age: seconds; a newest good backup that is older is degraded.
        timeout: longest time in seconds to look at them.
    """

    def __init__(
        self,
        *,
        folder: Path | str | None = None,
        table: Path | str | None = None,
        name: str = "backup",
        pattern: str = "backup_*",
        status: str = "completed",
        zone: tzinfo | None = None,
        max_age: float = 86_400.0,
        timeout: float = 5.0,
    ) -> None:
        if (folder is None) is (table is None):
            raise ValueError("needs one of folder and table")
        self._folder = None if folder is None else Path(folder)
        self._table = None if table is None else Path(table)
        self._name = name
        self._pattern = pattern
        self._status = status
        self._zone = zone
        self._max_age = max_age
        self._timeout = timeout
        self._seen: Mapping[tuple[str, ...], float] = {}

    def run(self) -> Health:
        """Look at them once."""
        configured = {"backup_configured": 1.0, "backup_max_age_seconds": self._max_age}
        now = time.time()
        end = time.monotonic() + self._timeout
        try:
            if self._table is None:
                backups = self._in_folder(now, end)
                count = len(backups)
            else:
                backups, count = self._in_table(self._table, now, end)
        except _LookError as error:
            # What was there is there still, as far as anybody knows; a place that is gone is not.
            known = self._seen if error.reason == "unreadable" else {}
            return Health("degraded", error.reason, str(error), {**self._figures(configured), **known})
        health = self._judge(backups, count, now)
        self._seen = health.figures
        return Health(health.state, health.reason, health.text, {**self._figures(configured), **health.figures})

    def _figures(self, figures: Mapping[str, float]) -> dict[tuple[str, ...], float]:
        return {(name, self._name): value for name, value in figures.items()}

    def _judge(self, backups: list[_Backup], count: int, now: float) -> Health:
        come = sorted((each for each in backups if not each.ahead or each.at <= now), key=lambda each: -each.at)
        good = next((each for each in come if not each.fault), None)
        newest = come[0] if come else None
        figures: dict[str, float] = {"backups": float(count)}
        if newest is not None:
            figures["backup_last_ok"] = float(not newest.fault)
            if newest.size is not None:
                figures["backup_last_bytes"] = newest.size
        if good is not None:
            figures["backup_last_success_timestamp_seconds"] = good.at
        state, reason, text = self._verdict(newest, good, now, ahead=any(each.ahead for each in backups))
        return Health(state, reason, text, self._figures(figures))

    def _verdict(
        self, newest: _Backup | None, good: _Backup | None, now: float, *, ahead: bool
    ) -> tuple[str, str, str]:
        age = "there is no good one" if good is None else f"the newest good one is {span(max(0.0, now - good.at))} old"
        if newest is None and ahead:
            verdict = "degraded", "future", "the time of every backup has not come yet: look at time_zone and clocks"
        elif newest is None:
            verdict = "degraded", "none", "there is no backup"
        elif newest.fault == "status":
            verdict = "unhealthy", "status", f"the newest backup is not {self._status}; {age}"
        elif newest.fault or good is None:
            verdict = "unhealthy", "incomplete", f"the newest backup was never finished; {age}"
        elif now - good.at > self._max_age:
            verdict = "degraded", "old", f"{age}, which is more than {span(self._max_age)}"
        elif ahead:
            verdict = "degraded", "future", f"a backup's time has not come yet: look at time_zone and clocks; {age}"
        else:
            verdict = "healthy", "", age + (f", {told_size(good.size)}" if good.size is not None else "")
        return verdict

    # --- a folder -----------------------------------------------------------------------------------------------------

    def _in_folder(self, now: float, end: float) -> list[_Backup]:
        found: list[_Backup] = []
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    _in_time(end)
                    if self._is_candidate(entry.name):
                        found += self._entry(Path(entry.path), now, end)
        except (FileNotFoundError, NotADirectoryError):
            raise _LookError("missing", "the folder of backups is not there") from None
        except OSError as error:
            raise _LookError("unreadable", f"the folder of backups: {error.strerror or 'cannot be read'}") from None
        return found

    def _is_candidate(self, name: str) -> bool:
        unfinished = name.startswith(".") or name.lower().endswith(_UNFINISHED)
        return not unfinished and fnmatch.fnmatchcase(name, self._pattern)

    def _entry(self, path: Path, now: float, end: float) -> Iterator[_Backup]:
        """The backup at a path; nothing where it is being made, or was taken away meanwhile."""
        try:
            status = path.stat()
            if stat.S_ISDIR(status.st_mode):
                size, changed = _measure(path, end)
                fault = "" if size else "incomplete"
            elif stat.S_ISREG(status.st_mode):
                size, changed = status.st_size, status.st_mtime
                fault = "" if size and _is_whole(path) else "incomplete"
            else:
                return
        except FileNotFoundError:
            return
        if fault and abs(now - changed) < _BEING_MADE:
            return
        at = _time_in(path.name, self._zone)
        if at is None:
            at = _time_of(_manifest(path).get("created_at"), self._zone)
        if at is None:
            at = changed
        ahead = at > now + _AHEAD
        if ahead and changed <= now:
            at = changed
        yield _Backup(at, float(size), fault, ahead)

    # --- a table ------------------------------------------------------------------------------------------------------

    def _in_table(self, path: Path, now: float, end: float) -> tuple[list[_Backup], int]:
        """The newest rows, and how many there are."""
        if not path.exists():
            raise _LookError("missing", "the file with the table of backups is not there")

        def ask(connection: sqlite3.Connection) -> tuple[list[tuple[Any, ...]], int]:
            connection.set_progress_handler(lambda: time.monotonic() > end, STEPS)
            select = "SELECT timestamp, status, size_bytes FROM backups"
            newest = f"ORDER BY timestamp DESC LIMIT {_ROWS}"
            # The newest, and the newest good ones, where all of those failed.
            good = connection.execute(f"{select} WHERE status = ? {newest}", (self._status,)).fetchall()
            count = connection.execute("SELECT count(*) FROM backups").fetchone()[0]
            return connection.execute(f"{select} {newest}").fetchall() + good, count

        try:
            rows, count = read(path, self._timeout, ask)
        except (OSError, sqlite3.Error) as error:
            # SQLite's text may quote what is in the file.
            name = getattr(error, "sqlite_errorname", type(error).__name__)
            text = f"the table backups (timestamp, status, size_bytes) cannot be read: {name}"
            raise _LookError("unreadable", text) from None
        found = list(self._rows(rows, now))
        if rows and not found:
            raise _LookError("unreadable", "no timestamp of the table of backups is a time")
        return found, count

    def _rows(self, rows: Iterable[tuple[Any, ...]], now: float) -> Iterator[_Backup]:
        for row in dict.fromkeys(rows):
            at = _time_of(row[0], self._zone)
            if at is None:
                continue
            size = float(row[2]) if isinstance(row[2], int | float) and row[2] >= 0 else None
            yield _Backup(at, size, "" if row[1] == self._status else "status", at > now + _AHEAD)


def _in_time(end: float) -> None:
    if time.monotonic() > end:
        raise _LookError("unreadable", "the backups could not be looked at in time")


def _measure(folder: Path, end: float) -> tuple[int, float]:
    """Bytes of all files in a folder, and when one of them, or the folder, was last changed."""
    size, changed = 0, folder.stat().st_mtime
    for where, _, names in os.walk(folder, onerror=_raise):
        for name in names:
            _in_time(end)
            try:
                found = Path(where, name).lstat()
            except FileNotFoundError:
                continue
            size += found.st_size
            changed = max(changed, found.st_mtime)
    return size, changed


def _raise(error: OSError) -> None:
    raise error


def _is_whole(path: Path) -> bool:
    """Whether a file is not cut off, as far as can be seen: an archive ends with its list of contents."""
    name = path.name.lower()
    if not name.endswith(".zip") or ".encrypted." in name:
        return True
    try:
        return zipfile.is_zipfile(path)
    except OSError:
        return True  # it may not be read, which is no reason to think that it is cut off


def _manifest(path: Path) -> dict[str, Any]:
    """A backup's manifest; empty where there is none that can be read."""
    try:
        if path.is_dir():
            with (path / MANIFEST).open("rb") as file:
                text = file.read(_MANIFEST_LIMIT)
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                names = [name for name in archive.namelist() if name.rpartition("/")[2] == MANIFEST]
                if not names:
                    return {}
                with archive.open(min(names, key=len)) as member:
                    text = member.read(_MANIFEST_LIMIT)
        else:
            return {}
        found = json.loads(text)
    except Exception:  # noqa: BLE001  # an archive of somebody else's: each method of compression has errors of its own
        return {}
    return found if isinstance(found, dict) else {}


def _time_in(name: str, zone: tzinfo | None) -> float | None:
    """The time that stands in a name."""
    found = _TIME.search(name)
    return _time_of(f"{found[1]}T{found[2]}:{found[3]}:{found[4]}", zone) if found else None


def _time_of(value: object, zone: tzinfo | None) -> float | None:
    """Unix time of ISO 8601, or of seconds since 1970; None of anything else."""
    if isinstance(value, bool):
        return None
    try:
        if isinstance(value, int | float):
            at = float(value)
        elif isinstance(value, str):
            moment = datetime.fromisoformat(value)
            at = (moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp()
        else:
            return None
    except (ValueError, OverflowError, OSError):
        return None
    return at if _EARLIEST < at < _LATEST else None
