"""Checks of the application's own, in the background."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rounds.emr import Health, Monitor
from support.emr_monitor import monitored
from support.waiting import eventually


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[Monitor]:
    with monitored(tmp_path) as made:
        yield made.monitor


def becomes(monitor: Monitor, name: str, state: str, reason: str = "") -> bool:
    return eventually(lambda: (monitor.health()[name].state, monitor.health()[name].reason) == (state, reason))


def test_results_are_those_that_checks_gave(monitor: Monitor) -> None:
    @monitor.check("printer")
    def printer() -> Health:
        return Health.degraded("little paper", reason="paper", sheets=5)

    monitor.check("yes")(lambda: True)
    monitor.check("nothing")(lambda: None)
    monitor.check("no")(lambda: False)
    monitor.check("odd")(lambda: "fine")
    assert becomes(monitor, "printer", "degraded", "paper")
    assert monitor.health()["printer"].figures == {("sheets",): 5}
    assert becomes(monitor, "yes", "healthy")
    assert becomes(monitor, "nothing", "healthy")
    assert becomes(monitor, "no", "unhealthy", "check")
    assert becomes(monitor, "odd", "unhealthy", "result")
    # The function itself is as before.
    assert printer().state == "degraded"


def test_a_check_that_raises_is_unhealthy_by_its_kind(monitor: Monitor) -> None:
    def fails() -> bool:
        raise OSError("the printer of Maria da Silva")

    monitor.check("fails")(fails)
    assert becomes(monitor, "fails", "unhealthy", "error")
    assert monitor.health()["fails"].text == "raised OSError"


def test_a_check_runs_again_and_again(monitor: Monitor) -> None:
    runs = []

    @monitor.check("counts", interval=0.02)
    def counts() -> bool:
        runs.append(threading.current_thread().name)
        return len(runs) != 2

    assert eventually(lambda: len(runs) >= 4)
    assert set(runs) == {"rounds-emr-check-counts"}
    assert becomes(monitor, "counts", "healthy")


def test_a_check_that_hangs_is_unhealthy_and_is_not_begun_again(monitor: Monitor) -> None:
    go_on = threading.Event()
    runs = []

    @monitor.check("hangs", interval=0.01, timeout=0.05)
    def hangs() -> bool:
        runs.append(1)
        if len(runs) == 1:
            go_on.wait(30)
        return True

    monitor.check("other", interval=0.01)(lambda: True)
    assert becomes(monitor, "hangs", "unhealthy", "timeout")
    assert becomes(monitor, "other", "healthy")
    assert runs == [1]
    go_on.set()
    assert eventually(lambda: len(runs) > 1)
    assert becomes(monitor, "hangs", "healthy")


def test_a_check_that_has_not_run_is_unknown(monitor: Monitor) -> None:
    go_on = threading.Event()
    monitor.check("slow", timeout=60)(lambda: go_on.wait(30))
    assert monitor.health()["slow"].state == "unknown"
    go_on.set()
    assert becomes(monitor, "slow", "healthy")


def test_a_later_check_takes_the_place_of_one_of_the_same_name(monitor: Monitor) -> None:
    runs = []
    monitor.check("own", interval=0.01)(lambda: runs.append(1))
    assert eventually(lambda: bool(runs))
    monitor.check("own", interval=0.01)(lambda: False)
    assert becomes(monitor, "own", "unhealthy", "check")
    assert eventually(lambda: not [each for each in threading.enumerate() if "check-own" in each.name][1:])


def test_checks_end_with_the_monitor(tmp_path: Path) -> None:
    with monitored(tmp_path) as app:
        app.monitor.check("own", interval=0.01)(lambda: True)
        app.monitor.check("Maria da Silva")(lambda: True)
        assert sorted(app.monitor.health()) == ["_other", "own"]
        threads = [each for each in threading.enumerate() if each.name.startswith("rounds-emr-check")]
        assert len(threads) == 2
    assert eventually(lambda: not any(thread.is_alive() for thread in threads))
