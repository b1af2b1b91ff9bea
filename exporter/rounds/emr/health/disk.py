"""Whether the disk that the application writes to has room."""

from __future__ import annotations

import shutil
from pathlib import Path

from rounds.emr.health.amounts import size
from rounds.emr.health.result import Health

_GIBIBYTE = 1024**3

#: Why a disk is not healthy: its folder is not there; cannot be asked; too few bytes are free; too much is used.
REASONS = ("missing", "unreadable", "low", "used")


def disk(
    path: Path | str,
    *,
    unhealthy_free_bytes: float = _GIBIBYTE,
    degraded_free_bytes: float = 5 * _GIBIBYTE,
    degraded_used_ratio: float = 0.9,
) -> Health:
    """Look at the disk that a folder, or a file, is on.

    What is free is what the application may write: what the file system keeps for the administrator counts neither as
    free nor as part of what the ratio is of, as with ``df``. That a disk is not mounted at an empty folder cannot be
    seen.

    Args:
        path: the folder.
        unhealthy_free_bytes: with less it is unhealthy.
        degraded_free_bytes: with less it is degraded.
        degraded_used_ratio: with more of it in use, from 0 to 1, it is degraded.
    """
    try:
        usage = shutil.disk_usage(path)
    except (FileNotFoundError, NotADirectoryError):
        return Health.unhealthy("the folder is not there", reason="missing")
    except OSError as error:
        return Health.unhealthy(f"the disk cannot be asked: {error.strerror or 'unknown'}", reason="unreadable")
    shared = usage.used + usage.free
    ratio = usage.used / shared if shared else 0.0
    figures = {"disk_free_bytes": float(usage.free), "disk_size_bytes": float(usage.total)}
    text = f"{size(usage.free)} free, {ratio:.0%} used"
    if usage.free < unhealthy_free_bytes:
        return Health.unhealthy(text, reason="low", **figures)
    if usage.free < degraded_free_bytes:
        return Health.degraded(text, reason="low", **figures)
    if ratio > degraded_used_ratio:
        return Health.degraded(text, reason="used", **figures)
    return Health.ok(text, **figures)
