"""The disk's figures, compared with the system's own."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from rounds.emr.health.disk import REASONS, disk

GIB = 1024**3


def test_figures_are_those_of_the_file_system(tmp_path: Path) -> None:
    before = os.statvfs(tmp_path)
    figures = disk(tmp_path).figures
    after = os.statvfs(tmp_path)
    assert figures["disk_size_bytes",] == before.f_frsize * before.f_blocks
    # Others write meanwhile; what is kept for the administrator is not free.
    low, high = sorted(each.f_frsize * each.f_bavail for each in (before, after))
    assert low - GIB // 4 <= figures["disk_free_bytes",] <= high + GIB // 4
    assert figures == pytest.approx(disk(tmp_path / ".").figures, rel=0.05)


def test_a_file_is_on_a_disk_as_well(tmp_path: Path) -> None:
    (tmp_path / "clinic.db").touch()
    assert ("disk_free_bytes",) in disk(tmp_path / "clinic.db").figures


@pytest.mark.parametrize(
    ("free", "reserved", "total", "expected"),
    [
        (5 * GIB, 0, 20 * GIB, ("healthy", "")),
        (5 * GIB - 1, 0, 20 * GIB, ("degraded", "low")),
        (GIB, 0, 20 * GIB, ("degraded", "low")),
        (GIB - 1, 0, 20 * GIB, ("unhealthy", "low")),
        (0, 5 * GIB, 100 * GIB, ("unhealthy", "low")),
        (10 * GIB, 0, 100 * GIB, ("healthy", "")),
        (10 * GIB - 1, 0, 100 * GIB, ("degraded", "used")),
        # 85 of the 95 that everybody may use.
        (10 * GIB, 5 * GIB, 100 * GIB, ("healthy", "")),
        (9 * GIB, 5 * GIB, 100 * GIB, ("degraded", "used")),
    ],
)
def test_thresholds(
    monkeypatch: pytest.MonkeyPatch, free: int, reserved: int, total: int, expected: tuple[str, str]
) -> None:
    usage = type(shutil.disk_usage("/"))(total, total - free - reserved, free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    health = disk("/")
    assert (health.state, health.reason) == expected, health
    assert health.figures == {("disk_free_bytes",): free, ("disk_size_bytes",): total}


def test_thresholds_are_given(tmp_path: Path) -> None:
    assert disk(tmp_path, unhealthy_free_bytes=0, degraded_free_bytes=0, degraded_used_ratio=1).state == "healthy"
    assert disk(tmp_path, unhealthy_free_bytes=2**62).reason == "low"


def test_what_is_not_there_is_unhealthy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "gone", tmp_path / "file" / "below"):
        health = disk(path)
        assert (health.state, health.reason, health.figures) == ("unhealthy", "missing", {})
        assert str(path) not in health.text
    health = disk(tmp_path / ("x" * 300))
    assert (health.state, health.reason) == ("unhealthy", "unreadable")
    assert {"missing", "unreadable", "low", "used"} == set(REASONS)
