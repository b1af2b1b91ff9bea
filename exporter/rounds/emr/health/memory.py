"""Whether the computer has memory left for the application."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from rounds.emr.health.amounts import size
from rounds.emr.health.result import Health

_GIBIBYTE = 1024**3
_MEMINFO = Path("/proc/meminfo")

#: Why memory is not healthy: it cannot be told; too few bytes are available; too much is used.
REASONS = ("unreadable", "low", "used")


def memory(
    *,
    unhealthy_available_bytes: float = _GIBIBYTE // 2,
    degraded_available_bytes: float = 2 * _GIBIBYTE,
    degraded_used_ratio: float = 0.9,
    meminfo: Path = _MEMINFO,
) -> Health:
    """Look at the computer's memory: what programs can still be given without paging, of all there is.

    It is the computer's, also where this process runs in a container with a limit of its own: the application is
    another process, and the limit says nothing about it. Without ``/proc/meminfo``, psutil is asked; without psutil,
    the state is unknown.

    Args:
        unhealthy_available_bytes: with less it is unhealthy.
        degraded_available_bytes: with less it is degraded.
        degraded_used_ratio: with more of it in use, from 0 to 1, it is degraded.
        meminfo: where Linux tells it.
    """
    found = of_computer(meminfo)
    if found is None:
        return Health("unknown", "unreadable", "nothing here tells how much memory there is")
    total, available = found
    ratio = 1 - available / total
    figures = {"memory_available_bytes": float(available), "memory_size_bytes": float(total)}
    text = f"{size(available)} available, {ratio:.0%} used"
    if available < unhealthy_available_bytes:
        return Health.unhealthy(text, reason="low", **figures)
    if available < degraded_available_bytes:
        return Health.degraded(text, reason="low", **figures)
    if ratio > degraded_used_ratio:
        return Health.degraded(text, reason="used", **figures)
    return Health.ok(text, **figures)


def of_computer(meminfo: Path = _MEMINFO) -> tuple[int, int] | None:
    """Total and available bytes; None where nothing tells them."""
    return _of_linux(meminfo) or _of_psutil()


def _of_linux(file: Path) -> tuple[int, int] | None:
    """Total and available bytes."""
    try:
        lines = file.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    found = {}
    for line in lines:
        name, _, rest = line.partition(":")
        with suppress(ValueError):
            found[name] = int(rest.split(" kB")[0]) * 1024
    total, available = found.get("MemTotal", 0), found.get("MemAvailable")
    return (total, available) if total > 0 and available is not None else None


def _of_psutil() -> tuple[int, int] | None:
    try:
        import psutil  # noqa: PLC0415  # used where it is installed
    except ImportError:
        return None
    found = psutil.virtual_memory()
    return (found.total, found.available) if found.total > 0 else None
