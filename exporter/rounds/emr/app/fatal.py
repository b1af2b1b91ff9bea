"""What faulthandler writes down when a fatal signal ends the process, and what the next process makes of it.

The file has paths of the computer, so it is made into names and line numbers when it is read, and is then removed.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any

from rounds.emr.names import OTHER, label

_SIGNALS = {
    "Aborted": "SIGABRT",
    "Bus error": "SIGBUS",
    "Floating point exception": "SIGFPE",
    "Floating-point exception": "SIGFPE",
    "Illegal instruction": "SIGILL",
    "Segmentation fault": "SIGSEGV",
    "access violation": "SIGSEGV",
    "stack overflow": "SIGSEGV",
}
_FATAL = re.compile(r"^(?:Fatal Python error|Windows fatal exception): (.*)$", re.MULTILINE)
_FRAME = re.compile(r'^  File "(.*)", line (\d+) in (.+)$')
_BINARY = getattr(os, "O_BINARY", 0)
#: Bytes of a file that are read.
_LONGEST = 1024 * 1024


class File(io.FileIO):
    """A file that whoever lets go of it closes without a word."""

    def __del__(self) -> None:
        self.close()


@dataclass(frozen=True)
class Signalled:
    """A fatal signal as it was written down."""

    error_type: str
    """Such as SIGSEGV."""
    fingerprint: str
    trace: list[str]
    """``module:function:line``, outermost first; the module is the file's name."""
    at: float
    about: dict[str, Any]
    """What the process had said of itself."""


class FatalFile:
    """The file of one process.

    Args:
        folder: where it is.
        pid: of the process.
        started: when it began, as its run says, in seconds since 1970.
        about: facts of the process for who reads the file.
    """

    def __init__(self, folder: Path, pid: int, started: float, about: dict[str, Any] | None = None) -> None:
        self.path = folder / f"fatal_{pid}_{started * 1000:.0f}.txt"
        self._about = about or {}

    def open(self) -> File:
        """Make the file, for faulthandler to write to.

        Raises:
            OSError: it cannot be made.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = File(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _BINARY, 0o600), "wb")
        file.write(json.dumps(self._about).encode() + b"\n")
        return file

    def read(self) -> Signalled | None:
        """The signal that ended the process; None where there was none, or nobody had asked for it."""
        try:
            with self.path.open("rb") as file:
                text = file.read(_LONGEST).decode("utf-8", "replace")
                at = os.fstat(file.fileno()).st_mtime
        except OSError:
            return None
        found = _FATAL.search(text)
        if found is None:
            return None
        trace = _trace(text[found.end() :])[::-1]
        error_type = _SIGNALS.get(found[1].strip(), "fatal")
        places = [line.rpartition(":")[0] for line in trace]
        digest = hashlib.blake2b("\0".join([error_type, *places]).encode(), digest_size=8)
        return Signalled(error_type, digest.hexdigest(), trace, at, _facts(text.partition("\n")[0]))

    def remove(self) -> None:
        """Remove the file, if it is there."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError:
            return


def _facts(line: str) -> dict[str, Any]:
    try:
        facts = json.loads(line)
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}


def _trace(text: str) -> list[str]:
    """The frames of the thread that the signal came to, innermost first."""
    lines = text.splitlines()
    begin = next((i for i, line in enumerate(lines) if line.startswith("Current thread")), None)
    if begin is None:
        return []
    trace = []
    for line in lines[begin + 1 :]:
        found = _FRAME.match(line)
        if found is None:
            break
        path = PureWindowsPath(found[1]) if "\\" in found[1] else PurePath(found[1])
        trace.append(f"{label(path.stem)}:{_function(found[3])}:{found[2]}")
    return trace


def _function(name: str) -> str:
    return label(name) if name.isidentifier() or name.startswith("<") else OTHER
