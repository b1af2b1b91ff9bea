"""The computer's memory, compared with the system's own figures."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest

from rounds.emr.health.memory import REASONS, memory

GIB = 1024**3
MEMINFO = "MemTotal:       {total} kB\nMemFree:          1 kB\nMemAvailable:   {available} kB\nHugePages_Total:   0\n"


def meminfo(folder: Path, total: int, available: int) -> Path:
    file = folder / "meminfo"
    file.write_text(MEMINFO.format(total=total // 1024, available=available // 1024), encoding="ascii")
    return file


def test_figures_are_the_systems() -> None:
    found = psutil.virtual_memory()
    figures = memory().figures
    assert figures["memory_size_bytes",] == found.total
    assert abs(figures["memory_available_bytes",] - found.available) < GIB / 2


@pytest.mark.parametrize(
    ("available", "total", "state", "reason"),
    [
        (2 * GIB, 16 * GIB, "healthy", ""),
        (2 * GIB - 1024, 16 * GIB, "degraded", "low"),
        (GIB // 2, 16 * GIB, "degraded", "low"),
        (GIB // 2 - 1024, 16 * GIB, "unhealthy", "low"),
        (10 * GIB, 100 * GIB, "healthy", ""),
        (10 * GIB - 1024, 100 * GIB, "degraded", "used"),
    ],
)
def test_thresholds(tmp_path: Path, available: int, total: int, state: str, reason: str) -> None:
    health = memory(meminfo=meminfo(tmp_path, total, available))
    assert (health.state, health.reason) == (state, reason), health
    assert health.figures == {("memory_available_bytes",): available, ("memory_size_bytes",): total}
    given = memory(
        unhealthy_available_bytes=1,
        degraded_available_bytes=1,
        degraded_used_ratio=1,
        meminfo=meminfo(tmp_path, total, available),
    )
    assert given.state == "healthy"


@pytest.mark.parametrize(
    "content", [None, "", "MemTotal: x kB\n", "MemTotal: 5 kB\n", "MemTotal: 0 kB\nMemAvailable: 0 kB\n"]
)
def test_elsewhere_psutil_is_asked(tmp_path: Path, content: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "meminfo"
    if content is not None:
        file.write_text(content, encoding="ascii")
    health = memory(meminfo=file)
    assert health.figures["memory_size_bytes",] == psutil.virtual_memory().total
    monkeypatch.setitem(sys.modules, "psutil", None)
    health = memory(meminfo=file)
    assert (health.state, health.reason, health.figures) == ("unknown", "unreadable", {})
    assert {"unreadable", "low", "used"} == set(REASONS)
