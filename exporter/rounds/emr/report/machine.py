"""The computer, as the report shows it: figures that can be had without another package, else with psutil."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from pathlib import Path
from typing import Any

_GB = 1024**3


def system_info() -> dict[str, Any]:
    """Operating system, processors, memory, the root's disk, time since the start. None where it is not known."""
    root = Path(Path.cwd().anchor or os.sep)
    try:
        disk = shutil.disk_usage(root)
    except OSError:
        disk = None
    memory, uptime = _memory(), _uptime()
    return {
        "os": platform.system(),
        "os_version": platform.release(),
        "python_version": platform.python_version(),
        "cpu_count": os.cpu_count(),
        "total_memory_gb": _gb(memory),
        "disk_total_gb": _gb(disk and disk.total),
        "disk_used_gb": _gb(disk and disk.used),
        "disk_free_gb": _gb(disk and disk.free),
        "uptime_hours": None if uptime is None else round(uptime / 3600, 2),
    }


def _gb(count: int | None) -> float | None:
    return None if count is None else round(count / _GB, 2)


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        psutil = _psutil()
        return int(psutil.virtual_memory().total) if psutil else None


def _uptime() -> float | None:
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    psutil = _psutil()
    return time.time() - psutil.boot_time() if psutil else None


def _psutil() -> Any:
    try:
        import psutil  # noqa: PLC0415
    except ImportError:
        return None
    return psutil
