"""The ledger: whether it can be opened, is sound, of a known version, and has a good place. Nothing is written."""

from __future__ import annotations

import os
import shlex
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from sqlalchemy import inspect
from sqlalchemy.exc import SQLAlchemyError

from rounds.doctor.finding import Finding, Level
from rounds.errors import ConfigError
from rounds.ledger.faults import explain
from rounds.ledger.ledger import store_of
from rounds.ledger.schema import CORE, VERSIONS, Schema, newer_components, versions_of
from rounds.ledger.settings import State
from rounds.ledger.sqlite import SqliteStore

_MIB = 2**20
#: Free bytes below which there is a finding.
_FREE: tuple[tuple[int, Level], ...] = ((64 * _MIB, "error"), (512 * _MIB, "warning"))
#: Types of file systems whose locks SQLite cannot trust.
_NETWORKED = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "glusterfs", "lustre", "fuse.sshfs", "fuse.glusterfs", "davfs")
_SQLITE_HEADER = b"SQLite format 3\0"
#: Of SQLite's header: 2 where a write-ahead log is kept.
_WAL_AT, _WAL = 18, 2


def examine(state: State, schemas: Sequence[Schema]) -> Iterator[Finding]:
    """Examine it.

    Args:
        state: the settings.
        schemas: what the domains that are on keep in it.
    """
    if not schemas:
        yield Finding("ok", "ledger", state.url, "is not needed: no domain that is on keeps anything")
        return
    if state.path is not None:
        yield from _examine_place(state.path)
        if not state.path.exists():
            return
        yield from _examine_file(state.path, schemas)
    else:
        yield from _examine_server(state, schemas)
    yield from _examine_salt(state)


def _examine_place(path: Path) -> Iterator[Finding]:
    folder = path.parent
    subject, quoted = str(path), shlex.quote(str(folder))
    if not folder.is_dir():
        remedy = f"install -d -m 700 {quoted}, owned by the user that the exporter runs as"
        other = 'or name a file elsewhere, such as state: {url: "sqlite:///state.db"}'
        yield Finding("error", "ledger", subject, "its folder is not there", (remedy, other))
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        remedy = f"chown the folder to the user that the exporter runs as, if that is this one: {quoted}"
        yield Finding("error", "ledger", subject, "its folder may not be written to by this user", (remedy,))
    kind = file_system(folder, Path("/proc/self/mountinfo"))
    if kind.startswith(_NETWORKED):
        found = f"it is on a network file system ({kind}), whose locks SQLite cannot trust"
        remedy = "stop the exporter, move the file and its salt to a local disk, change state.url (docs/operations.md)"
        yield Finding("warning", "ledger", subject, found, (remedy,))
    status = os.statvfs(folder)
    free = status.f_bavail * status.f_frsize
    level: Level = next((level for limit, level in _FREE if free < limit), "ok")
    remedy = f"make room on the disk: df -h {quoted}"
    yield Finding(
        level, "ledger", subject, f"{free // _MIB} MiB are free beside it", () if level == "ok" else (remedy,)
    )
    if not path.exists():
        yield Finding("ok", "ledger", subject, "is not there yet; the exporter makes it when it starts")
    for file in SqliteStore(path).quarantined():
        remedy = "restore a backup, or go on with the new one; then: rm " + shlex.quote(str(file)) + "*"
        yield Finding("warning", "ledger", str(file), "is a damaged ledger that was moved aside", (remedy,))


def _examine_file(path: Path, schemas: Sequence[Schema]) -> Iterator[Finding]:
    begin_anew = (
        "stop the exporter, put a backup in its place, delete its -wal and -shm (docs/operations.md, Backup)",
        "or start it: it moves the file aside and begins a new one",
    )
    try:
        with closing(_open(path)) as connection:
            yield from _examine_versions(str(path), _versions(connection), schemas)
            sound = connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok"
    except sqlite3.Error as error:
        fault = explain(error)
        remedies = begin_anew if fault.damaged else (f"see who uses it: fuser -v {shlex.quote(str(path))}",)
        yield Finding("error", "ledger", str(path), fault.text, remedies)
        return
    if not sound:
        yield Finding("error", "ledger", str(path), "is damaged", begin_anew)
    else:
        yield Finding("ok", "ledger", str(path), f"is sound, {path.stat().st_size // 1024} KiB")


def _open(path: Path) -> sqlite3.Connection:
    """For reading, and without making the files that SQLite keeps beside it where nobody has it open."""
    with path.open("rb") as file:
        header = file.read(_WAL_AT + 1)
    in_use = Path(f"{path}-wal").exists()
    still = header.startswith(_SQLITE_HEADER) and header[_WAL_AT] == _WAL and not in_use
    how = "mode=ro&immutable=1" if still else "mode=ro"
    return sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, timeout=5)


def _versions(connection: sqlite3.Connection) -> dict[str, int]:
    there = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (VERSIONS.name,)).fetchone()
    if not there:
        return {}
    return dict(connection.execute(f"SELECT component, version FROM {VERSIONS.name}").fetchall())


def _examine_versions(subject: str, versions: dict[str, int], schemas: Sequence[Schema]) -> Iterator[Finding]:
    newer = newer_components(versions, [CORE, *schemas])
    if newer:
        found = f"was written by a newer version of Rounds ({', '.join(newer)}), and this one refuses it"
        remedies = ("run that version of Rounds", "or restore a backup from before the update (docs/operations.md)")
        yield Finding("error", "ledger", subject, found, remedies)
    elif not versions:
        yield Finding("ok", "ledger", subject, "holds nothing yet")
    else:
        yield Finding("ok", "ledger", subject, "has a version that is known here")


def _examine_server(state: State, schemas: Sequence[Schema]) -> Iterator[Finding]:
    try:
        store = store_of(state)
    except ConfigError as error:
        yield Finding("error", "ledger", state.url, error.problems[0], ("pip install 'rounds-exporter[postgresql]'",))
        return
    try:
        with store.looking() as connection:
            versions = versions_of(connection) if inspect(connection).has_table(VERSIONS.name) else {}
    except SQLAlchemyError as error:
        found, _, remedy = explain(error).text.partition(": ")
        yield Finding("error", "ledger", state.url, found, (remedy or "check state.url, and that its server runs",))
        return
    finally:
        store.close()
    yield Finding("ok", "ledger", state.url, "answers")
    yield from _examine_versions(state.url, versions, schemas)


def _examine_salt(state: State) -> Iterator[Finding]:
    if not state.salt_path.exists():
        found = "the ledger's salt is not there; a new one makes all hashes others, so all tables are recorded anew"
        yield Finding("error", "ledger", str(state.salt_path), found, ("restore it from your backup of the salt",))


def file_system(path: Path, mounts: Path) -> str:
    """The type of the file system that a path is on; "" where it is not known.

    Args:
        path: the path.
        mounts: what the system says of its mounts, ``/proc/self/mountinfo``.
    """
    try:
        lines = mounts.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    found = ("", "")
    for line in lines:
        before, _, behind = line.partition(" - ")
        point = before.split(" ")[4].replace("\\040", " ")
        if path.resolve().is_relative_to(point) and len(point) >= len(found[0]):
            found = (point, behind.split(" ")[0])
    return found[1]
