"""The existing program's names: an application changes its import and goes on."""

from __future__ import annotations

import asyncio
import enum
import functools
import gc
import inspect
import json
import logging
import sqlite3
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol, TypeVar, assert_type

import pytest

import rounds.emr
from rounds.emr import (
    MonitoringSystem,
    Scrubber,
    alert_on_failure,
    capture_errors,
    count_calls,
    get_monitoring,
    init_monitoring,
    measure_and_alert,
    monitor_all,
    monitor_performance,
    retry_with_monitoring,
)
from rounds.emr.health.result import Health
from support.emr import ExistingStore
from support.waiting import eventually

Ask = Callable[..., list[tuple[Any, ...]]]
Counted = Callable[..., float]

PATIENT = "Jane Citizen"
DECORATORS: list[Any] = [
    monitor_performance,
    capture_errors,
    alert_on_failure,
    count_calls,
    measure_and_alert,
    retry_with_monitoring,
    monitor_all,
]
BARE_AND_CALLED = [each for decorator in DECORATORS for each in (decorator, decorator())]
NAMES = [f"{decorator.__name__}{how}" for decorator in DECORATORS for how in ("", "()")]


F = TypeVar("F", bound=Callable[..., Any])


class Decorate(Protocol):
    def __call__(self, target: F, /) -> F: ...


class StopError(Exception):
    pass


def stop(*said: str, after: float = 0) -> None:
    time.sleep(after)
    raise StopError(*said)


# --- what is there ----------------------------------------------------------------------------------------------------


def test_every_name_can_be_imported() -> None:
    for name in rounds.emr.__all__:
        assert getattr(rounds.emr, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'monitor_everything'"):
        rounds.emr.monitor_everything  # noqa: B018


def test_parameters_and_their_defaults_are_the_existing_ones() -> None:
    def defaults(function: Callable[..., Any]) -> dict[str, Any]:
        parameters = inspect.signature(function).parameters.values()
        return {each.name: each.default for each in parameters if each.kind is not each.KEYWORD_ONLY}

    assert defaults(monitor_performance) == {"operation_name": None}
    assert defaults(capture_errors) == {"context_func": None}
    assert defaults(alert_on_failure) == {"severity": "error", "title_template": None, "message_template": None}
    assert defaults(count_calls) == {"metric_name": None, "tags": None}
    assert defaults(measure_and_alert) == {
        "operation_name": None,
        "slow_threshold_ms": 1000,
        "alert_severity": "warning",
    }
    assert defaults(retry_with_monitoring) == {
        "max_attempts": 3,
        "delay_seconds": 1.0,
        "backoff": 2.0,
        "alert_on_all_failures": True,
    }
    assert defaults(monitor_all) == {
        "operation_name": None,
        "slow_threshold_ms": 1000,
        "alert_on_failure": True,
        "alert_on_slow": True,
    }
    assert list(defaults(init_monitoring)) == [
        "db_path",
        "clinic_db_path",
        "app_version",
        "alert_config",
        "auto_start",
    ]


def test_type_checkers_see_what_is_decorated(tmp_path: Path) -> None:
    """They look at this file too, and would object."""

    @monitor_all
    def one(visit: int) -> str:
        return str(visit)

    @monitor_all("two", slow_threshold_ms=10)
    async def two(visit: int) -> str:
        return str(visit)

    @capture_errors
    def three(visit: int) -> str:
        return str(visit)

    @retry_with_monitoring(max_attempts=2)
    @alert_on_failure(severity="critical")
    @count_calls("visits_saved")
    @measure_and_alert
    @monitor_performance("four")
    def four(visit: int) -> str:
        return str(visit)

    assert_type(one(1), str)
    assert_type(asyncio.run(two(1)), str)
    assert_type(three(1), str)
    assert_type(four(1), str)
    system = init_monitoring(tmp_path / "monitoring.db", None, auto_start=False)
    assert_type(system, MonitoringSystem)
    assert_type(system.metrics.get_summary("x"), dict[str, Any])
    system.stop()


# --- decorated functions are as they were -----------------------------------------------------------------------------


@pytest.mark.parametrize("decorate", BARE_AND_CALLED, ids=NAMES)
@pytest.mark.parametrize("when", ["before", "meanwhile", "after"])
def test_results_and_exceptions_stay(request: pytest.FixtureRequest, decorate: Any, when: str) -> None:
    """With and without parentheses, before there is a system, while there is one, and when it has stopped."""
    system = request.getfixturevalue("system") if when != "before" else None

    def save(visit: object, *, fail: bool = False) -> object:
        """Save a visit."""
        if fail:
            raise StopError(PATIENT)
        return visit

    decorated = decorate(save)
    if system is not None and when == "after":
        system.stop()
    given = object()
    assert decorated(given) is given
    assert decorated.__name__ == "save"
    assert decorated.__doc__ == "Save a visit."
    with pytest.raises(StopError) as raised:
        _without_pauses(decorated)(given, fail=True)
    assert raised.value.args == (PATIENT,)
    assert raised.value.__context__ is None


def _without_pauses(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "sleep", lambda _: None)
            return function(*args, **kwargs)

    return call


@pytest.mark.parametrize("decorate", BARE_AND_CALLED, ids=NAMES)
async def test_whatever_can_be_called(system: MonitoringSystem, decorate: Decorate) -> None:
    class Visits:
        @decorate
        def method(self, visit: int) -> int:
            return visit

        @classmethod
        @decorate
        def of_class(cls, visit: int) -> tuple[type[Visits], int]:
            return cls, visit

        @staticmethod
        @decorate
        def static(visit: int) -> int:
            return visit

        @decorate
        async def coroutine(self, visit: int) -> int:
            await asyncio.sleep(0)
            return visit

        @decorate
        def generator(self, visit: int) -> Iterator[Any]:
            received = yield visit
            yield received

        @decorate
        async def async_generator(self, visit: int) -> AsyncIterator[int]:
            yield visit
            await asyncio.sleep(0)
            yield visit + 1

    visits = Visits()
    assert visits.method(1) == 1
    assert Visits.of_class(2) == (Visits, 2)
    assert Visits.static(3) == 3
    assert await visits.coroutine(4) == 4
    generator: Any = visits.generator(5)
    assert next(generator) == 5
    assert generator.send("sent") == "sent"
    assert list(generator) == []
    assert [each async for each in visits.async_generator(6)] == [6, 7]
    assert decorate(len)("four") == 4
    assert decorate(Visits) is Visits


@pytest.mark.parametrize("decorate", BARE_AND_CALLED, ids=NAMES)
def test_around_other_decorators(system: MonitoringSystem, decorate: Decorate) -> None:
    outer: Any = decorate

    class Visits:
        @outer  # type: ignore[untyped-decorator]
        @classmethod
        def of_class(cls, visit: int) -> tuple[type[Visits], int]:
            return cls, visit

        @outer  # type: ignore[untyped-decorator]
        @staticmethod
        def static(visit: int) -> int:
            return visit

    @decorate
    @monitor_all
    @functools.lru_cache
    def cached() -> int:
        return 5

    assert Visits.of_class(2) == (Visits, 2)
    assert Visits().static(3) == 3
    assert cached() == 5


def bound_context(*args: Any, **kwargs: Any) -> dict[str, Any]:
    raise AssertionError("no context is kept, so none is asked for")


def test_capture_errors_with_a_context(system: MonitoringSystem, counted: Counted) -> None:
    """In both spellings, where the context's function looks just like one to decorate."""
    capturing: Any = capture_errors

    @capturing(bound_context)  # type: ignore[untyped-decorator]
    def one(visit: int) -> int:
        return 1 // visit

    @capturing(lambda *args: {"patient": PATIENT})  # type: ignore[untyped-decorator]
    def two(visit: int) -> int:
        return 1 // visit

    @capture_errors(context_func=bound_context)
    def three(visit: int) -> int:
        return 1 // visit

    @capturing(bound_context)  # type: ignore[untyped-decorator]
    async def four(visit: int) -> int:
        return 1 // visit

    @capturing(bound_context)  # type: ignore[untyped-decorator]
    @functools.lru_cache
    def five(visit: int) -> int:
        return 1 // visit

    def six(visit: int) -> int:
        return 1 // visit

    decorated = capture_errors(six)
    for function in (one, two, three, decorated, five):
        assert function(1) == 1
        with pytest.raises(ZeroDivisionError):
            function(0)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(four(0))
    assert counted("errors_total", "ZeroDivisionError", "captured") == 6


def test_capture_errors_of_a_function_that_takes_functions(system: MonitoringSystem) -> None:
    def apply(function: Callable[[], object]) -> object:
        return function()

    decorated: Any = capture_errors(apply)
    assert decorated(lambda: 1) == 1

    def callback() -> int:
        return 2

    assert decorated(callback) == 2
    assert decorated(functools.partial(int, "3")) == 3

    @capture_errors
    def run(function: Callable[[], object]) -> object:
        return function()

    assert run(callback) == 2


# --- what they tell ---------------------------------------------------------------------------------------------------


def alerts(ask: Ask) -> list[tuple[Any, ...]]:
    return ask("SELECT severity, key FROM rounds_alert ORDER BY id")


def test_monitor_all(system: MonitoringSystem, ask: Ask, counted: Counted) -> None:
    @monitor_all("save_visit", slow_threshold_ms=20)
    def save(seconds: float = 0, fail: bool = False) -> None:
        time.sleep(seconds)
        if fail:
            raise StopError

    # Known before they grow.
    seeded = ask("SELECT value FROM rounds_counter WHERE labels LIKE '%save_visit%'")
    assert len(seeded) == 7
    assert set(seeded) == {(0,)}
    save()
    save(0.03)
    with pytest.raises(StopError):
        save(fail=True)
    assert counted("operations_total", "save_visit", "ok") == 2
    assert counted("operations_total", "save_visit", "error") == 1
    assert counted("slow_operations_total", "save_visit") == 1
    assert counted("errors_total", "StopError", "captured") == 1
    assert alerts(ask) == [("warning", "slow:save_visit"), ("error", "failure:save_visit")]
    assert ask("SELECT culprit FROM rounds_error_group")[0][0].endswith(".save")
    assert system.metrics.get_summary("save_visit_success")["sum"] == 2
    assert system.metrics.get_summary("save_visit_error")["sum"] == 1


def test_monitor_all_without_alerts(system: MonitoringSystem, ask: Ask) -> None:
    @monitor_all(slow_threshold_ms=0, alert_on_failure=False, alert_on_slow=False)
    def save(fail: bool) -> None:
        if fail:
            raise StopError

    save(False)
    with pytest.raises(StopError):
        save(True)
    assert alerts(ask) == []


def test_monitor_performance(system: MonitoringSystem, ask: Ask, counted: Counted) -> None:
    @monitor_performance
    def save(fail: bool) -> None:
        if fail:
            raise StopError

    save(False)
    with pytest.raises(StopError):
        save(True)
    assert ask("SELECT operation, outcome FROM rounds_timing ORDER BY id") == [("save", "ok"), ("save", "error")]
    assert counted("errors_total", "StopError", "captured") == 0
    assert alerts(ask) == []


class Theirs(enum.Enum):
    """Severities as an application may have them."""

    CRITICAL = "CRITICAL"


def test_alert_on_failure(system: MonitoringSystem, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[Any, ...]] = []
    monkeypatch.setattr(system.monitor, "alert", lambda *args, **kwargs: said.append((*args, kwargs["key"])))

    @alert_on_failure
    def plain() -> None:
        raise StopError("a {b} c")

    @alert_on_failure(Theirs.CRITICAL, "{function_name} {x}", message_template="{error}! {error}? {{}} {function_name}")
    def told() -> None:
        raise StopError("{y}")

    for function in (plain, told):
        with pytest.raises(StopError):
            function()
    (first, second) = said
    assert first == ("error", "Failure in plain", "StopError: a {b} c", first[3])
    assert first[3].endswith("test_existing_names.plain")
    assert second[:3] == ("critical", "told {x}", "StopError: {y}! StopError: {y}? {{}} told")


def test_errors_whose_text_cannot_be_had(system: MonitoringSystem, ask: Ask) -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    @alert_on_failure
    def fail() -> None:
        raise MuteError

    with pytest.raises(MuteError):
        fail()
    assert len(alerts(ask)) == 1


def test_count_calls(system: MonitoringSystem, counted: Counted) -> None:
    @count_calls
    def save(fail: bool = False) -> None:
        if fail:
            raise StopError

    @count_calls("visits_saved", {"patient": PATIENT})
    def other() -> None:
        pass

    save()
    with pytest.raises(StopError):
        save(True)
    other()
    assert counted("events_total", "save_calls") == 2
    assert counted("events_total", "visits_saved") == 1
    assert system.metrics.get_summary("save_calls")["sum"] == 2


def test_measure_and_alert(system: MonitoringSystem, ask: Ask, counted: Counted) -> None:
    @measure_and_alert(slow_threshold_ms=20, alert_severity="critical")
    def search(seconds: float, fail: bool = False) -> None:
        time.sleep(seconds)
        if fail:
            raise StopError

    search(0)
    search(0.03)
    with pytest.raises(StopError):
        search(0.03, fail=True)
    assert alerts(ask) == [("critical", "slow:search")] * 2
    assert counted("operations_total", "search", "error") == 1
    assert counted("errors_total", "StopError", "captured") == 0


def test_retry_with_monitoring(
    system: MonitoringSystem, ask: Ask, counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    left = [0]

    @retry_with_monitoring
    def send() -> str:
        left[0] -= 1
        if left[0] >= 0:
            raise StopError(left[0])
        return "sent"

    def retries() -> list[float]:
        return [counted("retries_total", "send", said) for said in ("attempt", "success", "failed")]

    assert send() == "sent"
    assert retries() == [0, 0, 0]
    left[0] = 2
    assert send() == "sent"
    assert retries() == [2, 1, 0]
    assert pauses == [1, 2]
    left[0] = 9
    with pytest.raises(StopError) as raised:
        send()
    assert raised.value.args == (6,)
    assert retries() == [5, 1, 1]
    assert pauses == [1, 2, 1, 2]
    assert alerts(ask) == [("error", "retry_failed:send")]

    @retry_with_monitoring(1, alert_on_all_failures=False)
    def once() -> None:
        raise StopError

    with pytest.raises(StopError):
        once()
    assert len(alerts(ask)) == 1


def test_one_error_through_several_decorators_is_one(system: MonitoringSystem, ask: Ask, counted: Counted) -> None:
    @monitor_all("outer")
    @capture_errors
    @monitor_all("inner")
    def save() -> None:
        raise StopError

    with pytest.raises(StopError):
        save()
    assert counted("errors_total", "StopError", "captured") == 1
    assert alerts(ask) == [("error", "failure:inner"), ("error", "failure:outer")]


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError])
def test_ends_on_purpose_are_no_failures(
    system: MonitoringSystem, ask: Ask, counted: Counted, end: type[BaseException]
) -> None:
    @retry_with_monitoring
    @alert_on_failure
    @capture_errors
    @monitor_all("save")
    def save() -> None:
        raise end

    with pytest.raises(end):
        save()
    assert alerts(ask) == []
    assert ask("SELECT outcome FROM rounds_timing") == [("cancelled",)]
    assert ask("SELECT * FROM rounds_error_group") == []


# --- from the import to the end ---------------------------------------------------------------------------------------


def test_functions_are_measured_once_there_is_a_system(tmp_path: Path) -> None:
    assert get_monitoring() is None

    @monitor_all
    def save() -> None:
        pass

    save()
    one = init_monitoring(tmp_path / "one.db", None, auto_start=False)
    save()
    two = init_monitoring(tmp_path / "two.db", None, auto_start=False)
    assert get_monitoring() is two
    save()
    save()
    two.stop()
    assert get_monitoring() is None
    save()
    for system, calls in ((one, 1), (two, 2)):
        with closing(sqlite3.connect(system.db_path)) as connection:
            assert connection.execute("SELECT count(*) FROM rounds_timing").fetchone() == (calls,)
            assert connection.execute("SELECT ending FROM rounds_run").fetchall() == [("clean",)]


def test_a_system_begins_again(tmp_path: Path) -> None:
    hook = threading.excepthook
    system = MonitoringSystem(tmp_path / "monitoring.db", None, alert_config={"notifications": False})
    for _ in range(2):
        with system:
            assert get_monitoring() is system
            assert threading.excepthook is not hook
            system.metrics.record_count("visits_saved")
        assert threading.excepthook is hook
    with system:
        assert system.metrics.get_summary("visits_saved")["sum"] == 2


def test_decorated_functions_are_let_go(system: MonitoringSystem) -> None:
    def make() -> weakref.ref[Any]:
        @monitor_all
        def save() -> None:
            pass

        save()
        return weakref.ref(save)

    gone = make()
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    ("config", "shown"),
    [
        (None, "error"),
        ({"enable_notifications": True}, "error"),
        ({"notification_enabled": False}, None),
        (type("Config", (), {})(), "error"),
        ("nonsense", "error"),
    ],
)
def test_notifications_can_be_switched_off(
    tmp_path: Path, config: Any, shown: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = []
    monkeypatch.setattr(MonitoringSystem, "_make_monitor", lambda self: said.append(self._notifications))
    MonitoringSystem(tmp_path / "monitoring.db", alert_config=config)
    assert said == [shown is not None]


def test_what_alertmanager_does_now_is_said_once_and_without_secrets(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "rounds.emr")
    config = {
        "email_enabled": True,
        "smtp_password": "hunter2",
        "slack_webhook_url": "https://hooks.example/secret",
        "max_alerts_per_hour": 10,
        "deduplicate_window_minutes": 60,
        "enable_notifications": False,
    }
    system = init_monitoring(tmp_path / "monitoring.db", None, alert_config=config, auto_start=False)
    system.alerting.alert("error", "a", "b")
    system.alerting.alert("error", "a", "b")
    system.stop()
    [record] = caplog.records
    assert record.getMessage().startswith(
        "deduplicate_window_minutes, email_enabled, max_alerts_per_hour, slack_webhook_url, smtp_password of "
    )
    assert "hunter2" not in caplog.text
    assert "secret" not in caplog.text.replace("smtp_password", "")


# --- the parts --------------------------------------------------------------------------------------------------------


def test_the_error_tracker(system: MonitoringSystem, ask: Ask, counted: Counted) -> None:
    tracker = system.error_tracker
    try:
        stop(PATIENT)
    except StopError as error:
        fingerprint = tracker.capture_exception(error, {"patient": PATIENT}, tags={"patient": PATIENT})
        assert tracker.capture_exception() == fingerprint
    assert len(fingerprint) == 16
    assert tracker.capture_exception() == ""
    tracker.capture_message(PATIENT, level="warning")
    tracker.capture_message(PATIENT)
    with tracker.transaction("save_visit", op="db"):
        pass
    with pytest.raises(StopError), tracker.transaction("save_visit", "db"):
        raise StopError
    found = tracker.get_error_summary("24h")
    assert (found["total_errors"], found["unique_errors"]) == (1, 1)
    assert found["top_errors"][0]["fingerprint"] == fingerprint
    assert counted("messages_total", "warning") == counted("messages_total", "info") == 1
    assert ask("SELECT operation, outcome FROM rounds_timing") == [("save_visit", "ok"), ("save_visit", "error")]
    assert tracker.mark_resolved(fingerprint)
    assert ask("SELECT resolved FROM rounds_error_group") == [(1,)]
    assert not tracker.mark_resolved("unknown")


def test_resolving_an_error_of_the_existing_program(tmp_path: Path) -> None:
    store = ExistingStore(tmp_path / "monitoring.db")
    store.error(error_hash="a" * 16)
    with init_monitoring(store.path, None, auto_start=False) as system:
        assert system.error_tracker.mark_resolved("a" * 16)
    assert store.sql("SELECT resolved FROM errors") == [(1,)]


def test_metrics(system: MonitoringSystem, ask: Ask) -> None:
    metrics = system.metrics
    for ms in range(1, 101):
        metrics.record_timing("llm_response_ms", ms, tags={"patient": PATIENT})
    metrics.record_timing("consultation", 60_000)
    metrics.record_count("patients_created", 2)
    metrics.record_count("patients_created")
    metrics.record_gauge("active_consultations", 3, {"x": PATIENT})
    assert metrics.get_summary("llm_response_ms") == {
        "type": "timing",
        "count": 100,
        "sum": 5050,
        "mean": 50.5,
        "min": 1,
        "max": 100,
        "p50": 50.5,
        "p90": 90.1,
        "p95": 95.05,
        "p99": 99.01,
    }
    assert metrics.get_summary("consultation")["max"] == 60_000
    assert metrics.get_summary("patients_created", "1h")["sum"] == 3
    assert metrics.get_rate("patients_created", "24h") == pytest.approx(3 / 24)
    assert metrics.get_summary("active_consultations")["max"] == 3
    assert metrics.get_summary("nothing")["count"] == 0
    [bucket] = metrics.get_timeseries("patients_created", interval="1d")
    assert bucket["sum"] == 3
    assert ask("SELECT DISTINCT operation FROM rounds_timing ORDER BY 1") == [("consultation",), ("llm_response",)]
    for value in ("x", None, float("nan")):
        metrics.record_timing("llm_response_ms", value)  # type: ignore[arg-type]
        metrics.record_count("patients_created", value)  # type: ignore[arg-type]
        metrics.record_gauge("active_consultations", value)  # type: ignore[arg-type]
    assert metrics.get_summary("llm_response_ms")["count"] == 100


async def test_performance(system: MonitoringSystem, ask: Ask) -> None:
    with system.performance.measure("save_visit"):
        pass
    async with system.performance.measure("save_visit"):
        await asyncio.sleep(0)
    with pytest.raises(StopError), system.performance.measure("save_visit"):
        raise StopError

    assert system.performance.measure("search")(lambda: 3)() == 3
    assert system.performance.get_report("1h")["total_operations"] == 4
    found = system.performance.get_operation_stats("save_visit")
    assert (found["count"], found["failures"], found["failure_rate"]) == (3, 1, pytest.approx(1 / 3))


def test_alerting(system: MonitoringSystem, ask: Ask) -> None:
    alerting = system.alerting
    alerting.alert(alerting.Severity.CRITICAL, PATIENT, PATIENT, {"patient": PATIENT}, dedupe_key="backup:old")
    alerting.alert("nonsense", "title", "message")
    assert alerting.alert_if_threshold("queue", 3, 2)
    assert not alerting.alert_if_threshold("queue", 2, 2)
    assert not alerting.alert_if_threshold("queue", "many", 2)  # type: ignore[arg-type]
    assert alerts(ask) == [("critical", "backup:old"), ("error", ""), ("warning", "threshold:queue")]
    assert ask("SELECT DISTINCT title, message FROM rounds_alert") == [(None, None)]


def test_the_report(system: MonitoringSystem, tmp_path: Path) -> None:
    system.metrics.record_timing("llm_response_ms", 1500)
    data = system.dashboard.get_dashboard_data("1h")
    assert data["performance"]["slow_operations"] == 1
    assert json.loads(system.dashboard.export_json(tmp_path / "out.json", "7d"))["errors"]["period"] == "7d"
    assert json.loads((tmp_path / "out.json").read_text())["metrics"]["llm_response_ms"]["count"] == 1
    assert "HEALTH STATUS" in system.generate_report()
    assert json.loads(system.generate_report("1h", "json"))["performance"]["slow_operations"] == 1
    assert system.dashboard.export_json(tmp_path / "none" / "out.json") == ""


def test_the_summary(system: MonitoringSystem) -> None:
    system.metrics.record_timing("llm_response_ms", 1500)
    system.metrics.record_timing("llm_response_ms", 500)
    for _ in range(30):
        with pytest.raises(StopError), system.monitor.operation("save"):
            raise StopError
    found = system.get_summary()
    assert list(found) == [
        "health_score",
        "status",
        "errors_last_24h",
        "error_rate",
        "avg_response_time_ms",
        "slow_operations_last_hour",
        "current_cpu_percent",
        "current_memory_mb",
        "timestamp",
    ]
    assert found["health_score"] == 90, "more than one error in an hour"
    assert found["status"] == "unknown"
    assert found["errors_last_24h"] == 30
    assert found["error_rate"] == pytest.approx(30 / 24)
    assert found["avg_response_time_ms"] == pytest.approx(2000 / 32, rel=0.1)
    assert found["slow_operations_last_hour"] == 1
    assert found["current_memory_mb"] > 5


def test_cleanup_and_aggregation(tmp_path: Path) -> None:
    store = ExistingStore(tmp_path / "monitoring.db")
    store.error(at=time.time() - 100 * 86_400)
    store.error()
    with init_monitoring(store.path, None, auto_start=False) as system:
        system.metrics.record_count("visits_saved")
        system.aggregate_metrics()
        assert system.cleanup()["errors"] == 1
        assert system.error_tracker.get_error_summary()["total_errors"] == 1
        system.metrics.record_count("visits_saved")
        assert system.metrics.get_summary("visits_saved")["sum"] == 2


def test_the_user_stays_in_memory(system: MonitoringSystem, tmp_path: Path) -> None:
    system.set_user("dr-1", {"doctor": PATIENT}, clinic="x")
    system.error_tracker.set_user(PATIENT, patient_id=PATIENT)
    system.error_tracker.capture_exception(StopError(PATIENT), {"user": PATIENT})
    system.alerting.alert("critical", PATIENT, PATIENT, dedupe_key=PATIENT)
    system.metrics.record_count(PATIENT)
    system.metrics.record_gauge(PATIENT, 1)
    system.metrics.record_timing(PATIENT, 1)
    assert system.user["patient_id"] == PATIENT
    report = system.generate_report(format="json")
    system.stop()
    assert PATIENT not in report
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or PATIENT.encode() not in file.read_bytes(), file


def test_messages_are_kept_where_they_were_opted_in(tmp_path: Path) -> None:
    scrub = Scrubber.allow(messages=True)
    system = init_monitoring(tmp_path / "monitoring.db", None, auto_start=False, scrub=scrub)

    @capture_errors
    def fail() -> None:
        raise StopError("a template")

    with pytest.raises(StopError):
        fail()
    system.stop()
    with closing(sqlite3.connect(system.db_path)) as connection:
        assert connection.execute("SELECT message FROM rounds_error_group").fetchall() == [("a template",)]


def test_checks_run_once_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clinic = tmp_path / "clinic.db"
    with closing(sqlite3.connect(clinic)) as connection:
        connection.execute("CREATE TABLE patients (id)")
    backup = tmp_path / "backups/backup_x.zip"
    backup.parent.mkdir()
    names = "rounds.emr.app.dashboard"
    for name in ("disk", "memory"):
        monkeypatch.setattr(f"{names}.{name}", lambda *_: Health.ok())
    monkeypatch.setattr("rounds.emr.health.llm.Llm.run", lambda _: Health.ok())
    config = {"enable_notifications": False}
    with init_monitoring(tmp_path / "monitoring.db", clinic, alert_config=config) as system:
        assert not system.is_healthy()
        found = system.health.check_all()
        assert sorted(found) == ["backup", "database", "disk", "llm", "memory"]
        assert found["database"].state == "healthy"
        assert found["backup"].state == "degraded"
        assert system.health.get_overall_status() == "degraded"
        assert system.get_summary()["health_score"] == 80


def test_nothing_is_healthy_where_nothing_is_known(system: MonitoringSystem) -> None:
    assert not system.is_healthy()
    assert system.health.get_overall_status() == "unknown"


def test_a_store_that_cannot_be_read_raises_nothing(system: MonitoringSystem, caplog: pytest.LogCaptureFixture) -> None:
    system.stop()
    system.db_path.write_bytes(b"garbage" * 1000)
    for call, nothing in (
        (system.get_summary, {}),
        (system.generate_report, ""),
        (system.cleanup, {}),
        (system.error_tracker.get_error_summary, {}),
        (system.error_tracker.get_error_trend, []),
        (functools.partial(system.metrics.get_summary, "x"), {}),
        (functools.partial(system.metrics.get_timeseries, "x"), []),
        (functools.partial(system.error_tracker.mark_resolved, "x"), False),
        (system.dashboard.check_alerts, []),
    ):
        assert call() == nothing
    assert "DatabaseError" in caplog.text


@pytest.mark.parametrize("path", ["/proc/none/monitoring.db", "/dev/null/monitoring.db", "folder"])
def test_a_store_that_cannot_be_had_harms_nobody(tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    system = init_monitoring(path, None, auto_start=False)

    @monitor_all
    def save(fail: bool) -> None:
        if fail:
            stop()

    save(False)
    with pytest.raises(StopError):
        save(True)
    system.alerting.alert("critical", "a", "b")
    assert system.get_summary() == {}
    assert system.generate_report() == ""
    system.stop()


def test_wrong_arguments_harm_nobody(system: MonitoringSystem) -> None:
    class Mute:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    nonsense: Any
    for nonsense in (None, 5, object(), Mute(), b"x", ["a"]):
        system.metrics.record_timing(nonsense, nonsense)
        system.metrics.record_count(nonsense, nonsense)
        system.metrics.record_gauge(nonsense, nonsense)
        system.alerting.alert(nonsense, nonsense, nonsense, nonsense, nonsense)
        system.alerting.alert_if_threshold(nonsense, 2, 1)
        system.error_tracker.capture_exception(nonsense, nonsense)
        system.error_tracker.capture_message(nonsense, nonsense)
        system.set_user(nonsense, nonsense)
        system.metrics.get_summary(nonsense, nonsense, nonsense)
        system.metrics.get_timeseries(nonsense, nonsense, nonsense, nonsense)
        with system.performance.measure(nonsense), system.error_tracker.transaction(nonsense, nonsense):
            pass
        system.generate_report(nonsense)
    assert "HEALTH STATUS" in system.generate_report()


def test_the_folder_may_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    system = init_monitoring("monitoring.db", "clinic.db", auto_start=False)
    monkeypatch.chdir("/")
    system.metrics.record_count("visits_saved")
    assert system.metrics.get_summary("visits_saved")["sum"] == 1
    system.stop()
    assert (tmp_path / "monitoring.db").is_file()


def test_it_begins_and_ends_in_any_thread(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            with init_monitoring(tmp_path / "monitoring.db", None, alert_config={"notifications": False}) as system:
                system.metrics.record_count("visits_saved")
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(20)
    assert not failures
    with closing(sqlite3.connect(tmp_path / "monitoring.db")) as connection:
        assert connection.execute("SELECT sum FROM rounds_sample").fetchall() == [(1,)]


def test_handlers_of_slow_operations(system: MonitoringSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rounds.emr.app.facade.SLOW_SECONDS", 0.01)
    told: list[tuple[str, float]] = []
    system.performance.add_slow_handler(lambda name, ms: 1 // 0)
    system.performance.add_slow_handler(lambda name, ms: told.append((name, ms)))

    @monitor_all
    def save(seconds: float) -> None:
        time.sleep(seconds)

    save(0)
    save(0.02)
    with pytest.raises(StopError), system.performance.measure("search"):
        stop(after=0.02)
    assert [name for name, _ in told] == ["save", "search"]
    assert all(ms > 20 for _, ms in told)


def test_threads_and_systems_that_change(tmp_path: Path) -> None:
    """Decorated functions go on, whatever is exchanged beneath them."""
    stop = threading.Event()
    failures: list[BaseException] = []

    @monitor_all
    @count_calls
    def save() -> int:
        return 1

    def work() -> None:
        try:
            while not stop.wait(0.001):
                assert save() == 1
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(5):
        system = init_monitoring(tmp_path / f"{number}.db", None, auto_start=False)
        assert eventually(functools.partial(_was_called, system), within=20)
    system.stop()
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures


def _was_called(system: MonitoringSystem) -> bool:
    system.monitor.flush()
    with closing(sqlite3.connect(system.db_path)) as connection:
        return bool(connection.execute("SELECT count(*) FROM rounds_timing").fetchone()[0])
