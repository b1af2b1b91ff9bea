"""What the operating system says about processes: which one this is, whether another one still lives."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

_PROC = Path("/proc")
#: After the name in parentheses, which may hold anything: the state, and much later when the process began.
_STATE, _START = 0, 19


def boot_id() -> str:
    """Which start of the operating system, and which of its spaces for process numbers; "" where nobody knows.

    Processes with different ones cannot be compared by their numbers.
    """
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115 - not a path
    except OSError:
        # Elsewhere a process begins at a time of the clock, which tells those of another start as well.
        return ""


def start_of(pid: int) -> str | None:
    """When a process of this computer began, in whatever unit; None where there is none, "" where nobody knows."""
    try:
        return _start_by_proc(pid) if sys.platform == "linux" else _start_by_psutil(pid)
    except Exception:
        return ""


def _start_by_proc(pid: int) -> str | None:
    try:
        fields = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # One that has ended, and whose parent has not asked how.
    return None if fields[_STATE] in (b"Z", b"X") else fields[_START].decode("ascii")


def _start_by_psutil(pid: int) -> str | None:
    psutil = _psutil()
    if psutil is None:
        return ""
    try:
        return f"{psutil.Process(pid).create_time():.2f}"
    except psutil.NoSuchProcess:
        return None


def resident_bytes() -> int | None:
    """Memory of this process; None where nobody knows."""
    with suppress(OSError, LookupError, ValueError):
        pages = (_PROC / "self/statm").read_bytes().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
    psutil = _psutil()
    if psutil is not None:
        with suppress(Exception):
            return int(psutil.Process().memory_info().rss)
    return None


def cpu_seconds() -> float:
    """Processor time of this process."""
    return time.process_time()


def _psutil() -> Any:
    try:
        import psutil  # noqa: PLC0415 - not needed on Linux, and not always there
    except ImportError:
        return None
    return psutil
