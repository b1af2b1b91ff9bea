"""The application's own ``/metrics``."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rounds.emr import Health, Monitor
from rounds.emr.metrics import CATALOGUE
from rounds.metrics import Metric
from support.emr_monitor import monitored
from support.waiting import eventually

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def page(port: int | None) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def series(port: int | None) -> Series:
    """What is served, without the label of the application."""
    return {
        (sample.name, tuple(sorted((name, value) for name, value in sample.labels.items() if name != "app"))): (
            sample.value
        )
        for family in text_string_to_metric_families(page(port))
        for sample in family.samples
    }


def test_what_is_stored_is_served_under_the_same_names(tmp_path: Path) -> None:
    with monitored(tmp_path, listen="127.0.0.1:0") as app:
        monitor = app.monitor
        monitor.operation("save_visit", slow=0.01)(lambda: None)()
        monitor.timing("save_visit", 0.02)
        monitor.timing("llm_response", 45)
        monitor.count("visits_saved", 3)
        monitor.message("warning")
        monitor.gauge("active_consultations").set(4)
        monitor.alert("warning", "title", key="backup:old")
        monitor.check("own")(lambda: Health.degraded("slow"))
        with contextlib.suppress(OSError):
            monitor.retry(2, delay=0, name="send")(fail)()
        assert monitor.flush(10)
        assert eventually(lambda: monitor.health()["own"].state == "degraded")
        found = series(monitor.port)
        stored = app.counter("operations_total")
        for (operation, outcome), value in stored.items():
            assert found["rounds_emr_operations_total", (("operation", operation), ("outcome", outcome))] == value
        visit = ("operation", "save_visit")
        expected: Series = {
            ("rounds_emr_operation_duration_seconds_count", (visit,)): 2,
            ("rounds_emr_operation_duration_seconds_bucket", (("le", "0.01"), visit)): 1,
            ("rounds_emr_operation_duration_seconds_bucket", (("le", "0.025"), visit)): 2,
            ("rounds_emr_operation_duration_seconds_bucket", (("le", "+Inf"), visit)): 2,
            ("rounds_emr_operation_duration_seconds_bucket", (("le", "30.0"), ("operation", "llm_response"))): 0,
            ("rounds_emr_operation_duration_seconds_bucket", (("le", "60.0"), ("operation", "llm_response"))): 1,
            ("rounds_emr_operation_duration_seconds_sum", (("operation", "llm_response"),)): 45,
            ("rounds_emr_slow_operations_total", (visit,)): 0,
            ("rounds_emr_events_total", (("event", "visits_saved"),)): 3,
            ("rounds_emr_messages_total", (("level", "warning"),)): 1,
            ("rounds_emr_gauge", (("name", "active_consultations"),)): 4,
            ("rounds_emr_alerts_total", (("channel", "none"), ("severity", "warning"))): 1,
            ("rounds_emr_retries_total", (("operation", "send"), ("outcome", "attempt"))): 2,
            ("rounds_emr_errors_total", (("error_type", "OSError"), ("source", "captured"))): 1,
            ("rounds_emr_error_groups_seen_total", ()): 1,
            ("rounds_emr_health_state", (("check", "own"), ("state", "degraded"))): 1,
            ("rounds_emr_health_state", (("check", "own"), ("state", "healthy"))): 0,
        }
        assert {key: found.get(key) for key in expected} == expected
        assert found["rounds_emr_process_resident_memory_bytes", ()] > 1e6
        assert found["rounds_emr_process_cpu_seconds_total", ()] > 0
        # It grows, and is not what came last.
        monitor.count("visits_saved")
        assert monitor.flush(10)
        assert series(monitor.port)["rounds_emr_events_total", (("event", "visits_saved"),)] == 4


def fail() -> None:
    raise OSError("Maria da Silva")


def test_every_name_is_one_of_the_exporters(tmp_path: Path) -> None:
    with monitored(tmp_path, listen="127.0.0.1:0") as app:
        monitor = app.monitor
        monitor.operation("save_visit", slow=0.0)(lambda: None)()
        for what in ("a", "b"):
            monitor.count(what)
            monitor.gauge(what).set(1)
        monitor.message()
        monitor.alert("info", "title")
        monitor.check("own")(lambda: True)
        with contextlib.suppress(OSError):
            monitor.retry(1, name="send")(fail)()
        assert monitor.flush(10)
        text = page(monitor.port)
    catalogue: dict[str, Metric] = {metric.name: metric for metric in CATALOGUE}
    served = list(text_string_to_metric_families(text))
    assert len(served) >= 14
    for family in served:
        name = family.name + ("_total" if family.type == "counter" else "")
        metric = catalogue[name]
        assert metric.kind == family.type
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels), sample
            assert sample.labels["app"] == "docassist"
    assert "Maria" not in text


def test_it_can_be_served_without_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monitor = Monitor("docassist", "1.4.2", store=None, listen="127.0.0.1:0")
    try:
        monitor.count("visits_saved", 2)
        assert monitor.flush(10)
        found = series(monitor.port)
        assert found["rounds_emr_events_total", (("event", "visits_saved"),)] == 2
        info = [dict(labels) for name, labels in found if name == "rounds_emr_app_info"]
        assert [each["version"] for each in info] == ["1.4.2"]
    finally:
        monitor.close(10)
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_taken_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, caplog.at_level(logging.WARNING, "rounds.emr"):
        with monitored(tmp_path, listen=f"127.0.0.1:{taken.getsockname()[1]}") as app:
            assert app.monitor.port is None
            app.monitor.count("visits_saved")
            assert app.grown("events_total") == {("visits_saved",): 1}
        assert ["cannot serve" in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.parametrize("listen", ["", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999", "no host:1"])
def test_what_is_no_address_is_told(tmp_path: Path, listen: str, caplog: pytest.LogCaptureFixture) -> None:
    with monitored(tmp_path, listen=listen) as app:
        assert app.monitor.port is None
        assert app.monitor.flush(10)
    assert len(caplog.records) == 1


def test_a_missing_prometheus_client_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with monitored(tmp_path, listen="127.0.0.1:0") as app:
        assert app.monitor.port is None
        assert app.monitor.flush(10)
    assert len(caplog.records) == 1


def test_a_closed_monitor_gives_its_port_back(tmp_path: Path) -> None:
    with monitored(tmp_path, listen="127.0.0.1:0") as app:
        port = app.monitor.port
        assert page(port)
    with pytest.raises(urllib.error.URLError):
        page(port)
    with socket.create_server(("127.0.0.1", port or 0)):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_a_forked_child_does_not_keep_the_port(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    with monitored(tmp_path, listen="127.0.0.1:0") as app:
        port = app.monitor.port
        child = os.fork()
        if child == 0:
            os.close(writer)
            # Until the parent has closed its end.
            os.read(reader, 1)
            os._exit(0)
        assert page(port)
    try:
        with socket.create_server(("127.0.0.1", port or 0)):
            pass
    finally:
        os.close(writer)
        os.waitpid(child, 0)
        os.close(reader)
