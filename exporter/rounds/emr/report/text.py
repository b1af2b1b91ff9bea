"""The report as a person reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rounds.emr.report.figures import PERCENTILES


def text(report: Mapping[str, Any], app: str = "") -> str:
    """The report in the existing program's sections."""
    lines = [f"MONITORING REPORT{f': {app}' if app else ''}", f"Time: {report['timestamp']}"]
    sections = (
        ("HEALTH STATUS", _health(report["health"])),
        ("ERRORS", _errors(report["errors"])),
        ("PERFORMANCE", _performance(report["performance"], report["metrics"])),
        ("SYSTEM", _system(report["system"], report["health"]["system_info"])),
        ("ALERTS", _alerts(report["alerts"])),
        ("CRASHES", _crashes(report["crashes"], report["errors"]["period"])),
    )
    for title, body in sections:
        lines += ["", title, "-" * len(title), *body]
    return "\n".join(lines) + "\n"


def _health(health: Mapping[str, Any]) -> Iterator[str]:
    yield f"Overall: {health['overall_status']}"
    for service in health["services"]:
        behind = f" ({service['message']})" if service["message"] else ""
        yield f"  {service['service']}: {service['status']}{behind}"


def _errors(errors: Mapping[str, Any]) -> Iterator[str]:
    yield f"Period: {errors['period']}"
    yield f"Total: {errors['total_errors']}, different: {errors['unique_errors']}"
    yield f"In an hour: {errors['error_rate']:.2f}"
    for error in errors["top_errors"]:
        yield f"  {error['count']} x {error['error_type']}, last {error['last_seen']}"


def _performance(performance: Mapping[str, Any], metrics: Mapping[str, Any]) -> Iterator[str]:
    yield f"Operations: {performance['total_operations']}, slow: {performance['slow_operations']}"
    shares = ", ".join(f"p{percent} {performance[f'p{percent}_ms']:.2f} ms" for percent in PERCENTILES)
    yield f"Duration: average {performance['avg_duration_ms']:.2f} ms, {shares}"
    if performance["slowest_operations"]:
        yield "Slowest:"
    for each in performance["slowest_operations"]:
        yield f"  {each['operation']}: {each['duration_ms']:.2f} ms, {each['timestamp']}"
    yield "Recorded:"
    for name, data in metrics.items():
        yield f"  {name}: {_metric(data)}"


def _metric(data: Mapping[str, Any]) -> str:
    if not data["count"]:
        return "nothing"
    match data["type"]:
        case "timing":
            shares = ", ".join(f"p{percent} {data[f'p{percent}']:.2f}" for percent in PERCENTILES)
            return f"{data['count']} times, average {data['mean']:.2f}, {shares}"
        case "count":
            return f"{data['sum']:g}"
        case _:
            return f"average {data['mean']:.2f}, {data['min']:g} to {data['max']:g}"


def _system(system: Mapping[str, Any], computer: Mapping[str, Any]) -> Iterator[str]:
    if system:
        yield f"Application: {system['app_version'] or 'version unknown'}, Python {system['python_version']}"
        running = "running" if system["running"] else "ended"
        yield f"Process: {running}, started {system['started']}, last sign of life {system['last_sign_of_life']}"
        yield f"  memory {_number(system['memory_mb'], 'MB')}, processor {_number(system['cpu_percent'], '%')}"
    yield f"Computer: {computer['os']} {computer['os_version']}, {computer['cpu_count']} processors"
    disk = f"{_number(computer['disk_free_gb'], 'GB')} of {_number(computer['disk_total_gb'], 'GB')} free"
    yield f"  memory {_number(computer['total_memory_gb'], 'GB')}, disk {disk}"


def _number(value: float | None, unit: str) -> str:
    return "unknown" if value is None else f"{value:.1f} {unit}"


def _alerts(alerts: list[Mapping[str, Any]]) -> Iterator[str]:
    if not alerts:
        yield "None"
    for alert in alerts:
        yield f"  {alert['timestamp']} {alert['severity']} {alert['key']}".rstrip()


def _crashes(crashes: Mapping[str, Any], period: str) -> Iterator[str]:
    yield f"Total: {crashes['total']}, of these in the last {period}: {crashes['in_period']}"
    for crash in crashes["recent"]:
        sent = "submitted" if crash["submitted"] else "not submitted"
        yield f"  {crash['timestamp']} {crash['exception_type']}, {sent}"
