"""Reports of crashes: what was raised where, on what kind of computer, and what was done before. Nothing about people.

A report is a file beside the store. Its name ends with ``.new`` until the store knows it, so that a crash of which
nothing could be written into the store is entered at the next start, and none is entered twice.
"""

from __future__ import annotations

import json
import os
import platform
import re
import secrets
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rounds.emr.app import process
from rounds.emr.app.errors import Portrait
from rounds.emr.health.memory import of_computer
from rounds.emr.names import label

#: Reports that are kept; the oldest go first.
KEPT = 100
#: Actions that a report names.
ACTIONS = 20
_NEW = ".new"
#: Those of the library: the existing program's, in the same folder, have no random end.
_OURS = re.compile(r"crash_(\d{8}_\d{6}_\d+_[0-9a-f]{8})\.json(\.new)?")
_FATAL = re.compile(r"fatal_\d+_\d+\.txt")
_KINDS = ("python", "fatal_signal")
_LONGEST = 256 * 1024


class Actions:
    """The last things that the application did, by the names that its code gives them: operations that were measured,
    and what it tells itself."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._told: deque[tuple[float, str]] = deque(maxlen=ACTIONS)
        self._measured: deque[tuple[float, str, str]] = deque(maxlen=ACTIONS)

    def add(self, name: object) -> None:
        """Remember one. What is no name becomes ``_other``."""
        self._told.append((self._clock(), label(name)))

    def measured(self, timings: Sequence[tuple[float, str, float, str]]) -> None:
        """Remember operations: end, name, seconds, outcome."""
        self._measured.extend((end, name, outcome) for end, name, _, outcome in timings[-ACTIONS:])

    def listed(self) -> list[dict[str, str]]:
        """Oldest first, as a report has them. Those of operations say what they came to."""
        told = ((at, {"name": name}) for at, name in list(self._told))
        measured = ((at, {"name": name, "outcome": outcome}) for at, name, outcome in list(self._measured))
        last = sorted((*told, *measured), key=lambda action: action[0])[-ACTIONS:]
        return [{"at": stamp(at), **action} for at, action in last]


@dataclass(frozen=True)
class Report:
    """A report as it is written and sent."""

    id: str
    at: float
    kind: str
    error_type: str
    fingerprint: str
    body: bytes

    @property
    def name(self) -> str:
        """Its file's."""
        return f"crash_{self.id}.json"

    @property
    def trace(self) -> list[str]:
        """``module:function:line`` of each frame, outermost first."""
        trace = json.loads(self.body).get("trace")
        return [str(line) for line in trace] if isinstance(trace, list) else []


def stamp(at: float) -> str:
    """A time as text, in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def new_id(at: float, pid: int) -> str:
    """An id that two crashes of one process in one second do not share."""
    return f"{datetime.fromtimestamp(at, UTC):%Y%m%d_%H%M%S}_{pid}_{secrets.token_hex(4)}"


def about_process(app: str, version: str) -> dict[str, Any]:
    """What a report says of a process: versions and the operating system, without the computer's or anyone's name."""
    return {
        "app": app,
        "app_version": version,
        "python": platform.python_version(),
        "os": f"{platform.system()} {platform.release()}".strip(),
        "machine": platform.machine(),
    }


def report(
    at: float,
    kind: str,
    portrait: Portrait,
    about: dict[str, Any],
    *,
    causes: list[Portrait] | None = None,
    message: str | None = None,
    actions: list[dict[str, str]] | None = None,
    folder: Path | None = None,
    pid: int = 0,
) -> Report:
    """Make a report.

    Args:
        at: when it happened, in seconds since 1970.
        kind: python or fatal_signal.
        portrait: what was raised, and where.
        about: see :func:`about_process`.
        causes: what it was raised from, the nearest first.
        message: the exception's, where messages were opted in.
        actions: what was done before, oldest first.
        folder: of reports, whose disk is looked at. None where the computer's state says nothing about the crash.
        pid: of the process.
    """
    number = new_id(at, pid)
    contents: dict[str, Any] = {
        "id": number,
        "timestamp": stamp(at),
        "kind": kind,
        "error_type": portrait.error_type,
        "fingerprint": portrait.fingerprint,
        "culprit": portrait.culprit,
        "trace": portrait.trace.splitlines(),
        **about,
        "recent_actions": actions or [],
    }
    if causes:
        contents["causes"] = [{"error_type": each.error_type, "trace": each.trace.splitlines()} for each in causes]
    if message is not None:
        contents["message"] = message
    if folder is not None:
        contents["memory"] = memory()
        contents["disk"] = _disk(folder)
    body = json.dumps(contents, indent=1).encode("ascii")
    return Report(number, at, kind, portrait.error_type, portrait.fingerprint, body)


def memory() -> dict[str, int | None]:
    """Bytes: of this process, and those that the computer has and can still give."""
    try:
        total, available = of_computer() or (None, None)
    except Exception:
        # What psutil raises, where it is asked, must not cost the report.
        total, available = None, None
    return {"resident_bytes": process.resident_bytes(), "total_bytes": total, "available_bytes": available}


def _disk(folder: Path) -> dict[str, int | None]:
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return {"total_bytes": None, "free_bytes": None}
    return {"total_bytes": usage.total, "free_bytes": usage.free}


class Folder:
    """The folder of reports.

    Args:
        path: made with the first report.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, made: Report) -> None:
        """Write a report down, whole or not at all; the store does not know it yet.

        Raises:
            OSError: it could not be written.
        """
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = self.path / f".{made.name}.partial"
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(made.body)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self.path / (made.name + _NEW))
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    def known(self, made: Report) -> None:
        """The store knows it now."""
        with suppress(OSError):
            (self.path / (made.name + _NEW)).rename(self.path / made.name)

    def unknown(self) -> Iterator[Report]:
        """Reports that the store does not know, oldest first."""
        for file in self._files():
            if file.name.endswith(_NEW) and (found := _read(file)) is not None:
                yield found

    def prune(self) -> None:
        """Remove the oldest, of which there are too many."""
        reports = self._files()
        with suppress(OSError):
            left = sorted((file for file in self.path.iterdir() if _FATAL.fullmatch(file.name)), key=_age)
            for file in [*reports[:-KEPT], *left[:-KEPT]]:
                file.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        # Ids begin with the time.
        with suppress(OSError):
            return sorted(file for file in self.path.iterdir() if _OURS.fullmatch(file.name))
        return []


def _age(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def _read(file: Path) -> Report | None:
    """A report that this library has written; None for anything else."""
    found = _OURS.fullmatch(file.name)
    try:
        with file.open("rb") as opened:
            body = opened.read(_LONGEST)
        contents = json.loads(body)
        at = datetime.fromisoformat(contents["timestamp"]).timestamp()
        kind, error_type, fingerprint = (str(contents[key]) for key in ("kind", "error_type", "fingerprint"))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if found is None or kind not in _KINDS or not re.fullmatch(r"[0-9a-f]{16}", fingerprint):
        return None
    return Report(found[1], at, kind, label(error_type), fingerprint, body)
