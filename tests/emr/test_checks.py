"""The jobs of an application's checks: by themselves, and in a real exporter."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from rounds.cli import main
from rounds.demo.ollama import Condition, Ollama
from rounds.emr.checks import HealthChecks, _Check, _Part
from rounds.emr.config import App
from rounds.emr.health.result import Health
from rounds.emr.names import STATES
from rounds.emr.score import Board
from rounds.metrics import Family, Value
from support.binaries import require_binary
from support.emr_health import holding
from support.exporter import RunningExporter, running_exporter, until

PATIENT = "Zzyzx Planted"
MODEL = "qwen2.5:7b"


def app(checks: dict[str, Any], **keys: Any) -> App:
    return App.model_validate({"name": "clinic", "source": "clinic", "checks": checks, **keys})


def samples(families: list[Family]) -> dict[tuple[str, ...], Value]:
    """Values by the metric's name, without its beginning, and its labels, without the application."""
    return {
        (family.metric.name.removeprefix("rounds_emr_"), *labels[1:]): value
        for family in families
        for labels, value in family.samples
    }


def state(found: dict[tuple[str, ...], Value], check: str) -> str:
    """The one state that a check is in."""
    (only,) = [name for name in STATES if found["health_state", check, name] == 1]
    return only


class Place:
    """What a part looks at: it can be made to hang, and to be well or not."""

    def __init__(self, result: Health) -> None:
        self.result = result
        self.open = threading.Event()
        self.open.set()
        self.looks = 0

    def look(self) -> Health:
        self.looks += 1
        assert self.open.wait(30)
        return self.result


def a_check(*places: Place, lasting: bool = False) -> tuple[_Check, Board]:
    board = Board({})
    parts = [_Part(f"p{number}", place.look, 0.3, lasting=lasting) for number, place in enumerate(places)]
    return _Check("clinic", "backup", 30, parts, board), board


async def test_before_the_first_run_nothing_is_known() -> None:
    check, board = a_check(Place(Health.ok("fine")))
    found = samples(check.families())
    assert state(found, "backup") == "unknown"
    assert found["health_interval_seconds", "backup"] == 30
    assert not {"health_last_run_timestamp_seconds", "health_duration_seconds"} & {name for name, *_ in found}
    assert board.results == {}


async def test_a_run_tells_everything() -> None:
    place = Place(Health("degraded", "low", "little is free", {("disk_free_bytes",): 5.0}))
    check, board = a_check(place)
    found = samples(await check.collect())
    assert state(found, "backup") == "degraded"
    assert found["health_reason", "backup", "low"] == 1
    assert found["disk_free_bytes",] == 5
    assert abs(float(str(found["health_last_run_timestamp_seconds", "backup"])) - time.time()) < 60
    assert 0 <= float(str(found["health_duration_seconds", "backup"])) < 30
    assert board.results == {"backup": place.result}
    assert check.found() == "degraded: little is free"
    place.result = Health.ok("fine")
    found = samples(await check.collect())
    assert state(found, "backup") == "healthy"
    assert not [key for key in found if key[0] in {"health_reason", "disk_free_bytes"}]


@pytest.mark.parametrize("lasting", [True, False])
async def test_one_that_does_not_come_back_is_unknown(lasting: bool) -> None:
    place = Place(Health.ok("fine", disk_free_bytes=5.0))
    check, board = a_check(place, lasting=lasting)
    first = samples(await check.collect())
    place.open.clear()
    for _ in range(2):
        found = samples(await check.collect())
        assert state(found, "backup") == "unknown"
        assert found["health_reason", "backup", "timeout"] == 1
        last_run = ("health_last_run_timestamp_seconds", "backup")
        assert found[last_run] == first[last_run], "which is how a rule sees it"
        assert (("disk_free_bytes",) in found) is lasting
    assert board.results["backup"].state == "unknown"
    assert place.looks == 2, "a thread that hangs is not joined by others"
    place.open.set()
    assert state(samples(await check.collect()), "backup") == "healthy"
    assert place.looks == 2, "what it found at last counts"


async def test_a_check_that_fails_itself_is_not_taken_for_healthy() -> None:
    place = Place(Health.ok("fine"))
    check, board = a_check(place)
    await check.collect()

    def fail() -> Health:
        raise ZeroDivisionError

    check._parts[0]._look = fail
    with pytest.raises(ZeroDivisionError):
        await check.collect()
    assert board.results["backup"].state == "unknown"


async def test_one_place_that_hangs_holds_up_no_other() -> None:
    hanging, bad = Place(Health.ok("a")), Place(Health("degraded", "old", "b", {("backup_last_ok", "p1"): 1.0}))
    hanging.open.clear()
    check, _ = a_check(hanging, bad)
    for result, expected in (
        (bad.result, "degraded"),
        (Health.ok("b"), "unknown"),
        (Health.unhealthy("b"), "unhealthy"),
    ):
        bad.result = result
        assert state(samples(await check.collect()), "backup") == expected
    assert bad.looks == 3
    assert "p0: has not come back" in check.found()
    assert "p1: b" in check.found()
    hanging.open.set()


async def test_a_run_that_is_cancelled_is_taken_up_again() -> None:
    """A reload cancels runs; the next one waits for the thread that there is."""
    place = Place(Health.ok("fine"))
    check, _ = a_check(place)
    place.open.clear()
    task = asyncio.create_task(check.collect())
    await until(lambda: asyncio.sleep(0, place.looks == 1))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    place.open.set()
    assert state(samples(await check.collect()), "backup") == "healthy"
    assert place.looks in {1, 2}


def test_each_configured_check_has_a_job(tmp_path: Path) -> None:
    checks: dict[str, Any] = {
        "database": {"path": str(tmp_path / "c.db"), "interval": "20s"},
        "llm": {"timeout": "3s"},
        "disk": {"path": str(tmp_path)},
        "memory": {},
        "backup": [
            {"folder": str(tmp_path), "interval": "10m", "timeout": "9s"},
            {"table": str(tmp_path / "b.db"), "name": "nightly"},
        ],
    }
    jobs = {job.name: job for job in HealthChecks().jobs(app(checks))}
    assert list(jobs) == [f"emr/clinic/health/{name}" for name in checks]
    assert {job.collector for job in jobs.values()} == {"emr/clinic/health"}
    assert jobs["emr/clinic/health/database"].interval == 20
    assert jobs["emr/clinic/health/backup"].interval == 300
    assert jobs["emr/clinic/health/backup"].timeout > 9
    assert jobs["emr/clinic/health/llm"].timeout > 3
    assert HealthChecks().jobs(app({})) == []


async def test_a_reload_goes_on_with_what_is_the_same(tmp_path: Path) -> None:
    kept = HealthChecks()
    before = {"disk": {"path": str(tmp_path)}, "memory": {}, "backup": {"folder": str(tmp_path)}}
    for job in kept.jobs(app(before)):
        await job.collect()
    assert set(kept.board.results) == {"disk", "memory", "backup"}
    board = kept.board
    after = {"disk": {"path": str(tmp_path)}, "backup": {"folder": str(tmp_path)}}
    jobs = {job.name.rpartition("/")[2]: job for job in kept.jobs(app(after, time_zone="Asia/Kolkata"))}
    assert kept.board is board
    assert set(board.results) == set(), "other zone: what was found may not be so"
    kept.jobs(app(after, time_zone="Asia/Kolkata"))
    for job in jobs.values():
        await job.collect()
    again = {job.name.rpartition("/")[2]: job for job in kept.jobs(app(after, time_zone="Asia/Kolkata"))}
    assert set(board.results) == {"disk", "backup"}
    assert state(samples(list(again["disk"].initial)), "disk") != "unknown", "it is known already"
    kept.jobs(app({"backup": {"folder": str(tmp_path), "max_age": "1h"}}, time_zone="Asia/Kolkata"))
    assert board.results == {}, "what is not configured any more, or otherwise, is forgotten"


# --- a real exporter --------------------------------------------------------------------------------------------------


def config(folder: Path, checks: dict[str, Any]) -> str:
    application = {"name": "clinic", "source": "store", "interval": "100ms", "checks": checks}
    document = {
        "state": {"url": f"sqlite:///{folder / 'state.db'}"},
        "sources": {"store": {"kind": "sqlite", "path": str(folder / "monitoring.db")}},
        "emr": [application],
    }
    (folder / "monitoring.db").touch()
    return yaml.safe_dump(document)


async def becomes(exporter: RunningExporter, check: str, state: str, reason: str = "") -> None:
    """Wait for a check's state and reason."""

    async def is_so() -> bool:
        found = await exporter.samples()
        states = {
            dict(labels)["state"]: value
            for (name, labels), value in found.items()
            if name == "rounds_emr_health_state" and dict(labels)["check"] == check
        }
        reasons = [
            dict(labels)["reason"]
            for name, labels in found
            if name == "rounds_emr_health_reason" and dict(labels)["check"] == check
        ]
        return states == {each: float(each == state) for each in STATES} and reasons == ([reason] if reason else [])

    await until(is_so, within=30)


async def test_checks_in_an_exporter(tmp_path: Path) -> None:
    place = tmp_path / PATIENT
    backups = place / "backups"
    backups.mkdir(parents=True)
    database = place / "clinic.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE patients (number)")
    often = {"interval": "100ms", "timeout": "300ms"}
    with Ollama((MODEL,), Condition.ABSENT) as ollama:
        checks = {
            "database": {**often, "path": str(database)},
            "llm": {"interval": "100ms", "url": ollama.url, "model": MODEL},
            "disk": {
                **often,
                "path": str(place),
                "degraded_free_bytes": 1,
                "unhealthy_free_bytes": 0,
                "degraded_used_ratio": 1,
            },
            "memory": often,
            "backup": {**often, "folder": str(backups)},
        }
        async with running_exporter(tmp_path, config(tmp_path, checks)) as exporter:
            await exporter.ready()
            assert await exporter.value("rounds_collector_success", collector="emr/clinic/health") == 1
            await becomes(exporter, "database", "healthy")
            await becomes(exporter, "llm", "unhealthy", "unreachable")
            await becomes(exporter, "backup", "degraded", "none")
            await becomes(exporter, "disk", "healthy")
            assert await exporter.value("rounds_emr_disk_size_bytes", app="clinic") == shutil.disk_usage(place).total
            assert await exporter.value("rounds_emr_backup_configured", app="clinic", backup="backup") == 1
            ollama.show(Condition.LOADED)
            await becomes(exporter, "llm", "healthy")
            assert await exporter.value("rounds_emr_llm_model_loaded", app="clinic", model=MODEL) == 1
            with holding(database, "BEGIN EXCLUSIVE"):
                await becomes(exporter, "database", "degraded", "locked")
                assert await exporter.value("rounds_emr_database_locked", app="clinic") == 1
                pages = [(await exporter.get(path)).text for path in ("/", "/metrics", "/api/v1/status")]
            await becomes(exporter, "database", "healthy")
            assert "another program does not let it be read" in pages[0]
            (backups / f"backup_{time.strftime('%Y-%m-%d_%H-%M-%S')}.tar").write_bytes(b"x")
            await becomes(exporter, "backup", "healthy")
            # A check that is not well is no failure of the collector.
            assert await exporter.value("rounds_collector_success", collector="emr/clinic/health") == 1
            database.unlink()
            await becomes(exporter, "database", "unhealthy", "missing")
            pages += [(await exporter.get("/metrics")).text]
            assert await exporter.stop() == 0
        told = "\n".join([*pages, exporter.log])
        assert PATIENT not in told
        assert "internal" not in exporter.log


@pytest.mark.slow
async def test_a_check_that_hangs_in_an_exporter(tmp_path: Path) -> None:
    """A backup's manifest that nobody ever finishes stands for a disk that does not answer."""
    backup = tmp_path / "backups" / "backup_x"
    backup.mkdir(parents=True)
    (backup / "clinic.db").write_bytes(b"x")
    manifest = backup / "backup_manifest.json"
    checks = {
        "backup": {"folder": str(backup.parent), "interval": "1s", "timeout": "100ms"},
        "memory": {"interval": "100ms"},
    }
    async with running_exporter(tmp_path, config(tmp_path, checks)) as exporter:
        await becomes(exporter, "backup", "healthy")
        key = {"app": "clinic", "check": "backup"}
        os.mkfifo(manifest)
        await becomes(exporter, "backup", "unknown", "timeout")
        last = await exporter.value("rounds_emr_health_last_run_timestamp_seconds", **key)
        assert last is not None
        when = {"app": "clinic", "backup": "backup"}
        assert await exporter.value("rounds_emr_backup_last_success_timestamp_seconds", **when) is not None
        assert await exporter.value("rounds_collector_success", collector="emr/clinic/health") == 1
        memory = {"app": "clinic", "check": "memory"}
        ran = await exporter.value("rounds_emr_health_last_run_timestamp_seconds", **memory)

        async def ran_again() -> bool:
            return await exporter.value("rounds_emr_health_last_run_timestamp_seconds", **memory) != ran

        await until(ran_again)
        # Whoever reads it comes to its end now; without it, nobody waits again.
        writer = await asyncio.to_thread(os.open, manifest, os.O_WRONLY)
        manifest.unlink()
        os.close(writer)
        await becomes(exporter, "backup", "healthy")
        assert await exporter.value("rounds_emr_health_last_run_timestamp_seconds", **key) > last  # type: ignore[operator]
        assert await exporter.stop() == 0


def test_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(sqlite3.connect(tmp_path / "c.db")) as connection:
        connection.execute("CREATE TABLE patients (number)")
    with Ollama((MODEL,)) as ollama:
        checks = {
            "database": {"path": "c.db"},
            "llm": {"url": ollama.url, "model": MODEL, "generate_every": "1h"},
            "disk": {"path": "."},
            "memory": {},
            "backup": {"folder": "."},
        }
        file = tmp_path / "rounds.yml"
        file.write_text(config(tmp_path, checks), encoding="utf-8")
        assert main(["once", "--collector=emr/clinic/health", f"--config.file={file}"]) == 0
    out = capsys.readouterr().out
    assert 'rounds_emr_health_state{app="clinic",check="backup",state="degraded"} 1' in out
    assert 'rounds_emr_database_integrity_ok{app="clinic"} 1' in out
    assert 'rounds_emr_llm_generation_seconds{app="clinic",model="qwen2.5:7b"}' in out
    command = [str(require_binary("promtool")), "check", "metrics"]
    checked = subprocess.run(command, input=out, capture_output=True, text=True, check=False)
    assert not [line for line in (checked.stdout + checked.stderr).splitlines() if "rounds_emr" in line]


def test_generation_needs_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rounds.yml"
    file.write_text(config(tmp_path, {"llm": {"generate_every": "1h"}}), encoding="utf-8")
    assert main(["check-config", f"--config.file={file}"]) == 2
    assert "generate_every: needs model" in capsys.readouterr().err
