"""Tells what the exporter and Prometheus think, by asking them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Protocol

import httpx
from prometheus_client.parser import text_string_to_metric_families

_PAUSE = 0.5


class OnAlert(Protocol):
    """Told of an alert: its name, what it is about, and whether it fires or is over."""

    def __call__(self, name: str, about: str, *, firing: bool) -> None: ...


async def watch_checks(base: str, on_change: Callable[[str, str, str], None]) -> None:
    """Report each change of a check's state in the exporter's metrics, until cancelled. Checks begin as up."""
    states: dict[str, str] = {}
    async with httpx.AsyncClient(base_url=base, trust_env=False) as client:
        while True:
            for check, state in check_states(await _get(client, "/metrics")).items():
                before = states.get(check, "up")
                states[check] = state
                if state != before:
                    on_change(check, before, state)
            await asyncio.sleep(_PAUSE)


async def watch_alerts(base: str, on_change: OnAlert) -> None:
    """Report each alert that begins or ceases to fire in Prometheus, until cancelled."""
    firing: set[tuple[str, str]] = set()
    async with httpx.AsyncClient(base_url=base, trust_env=False) as client:
        while True:
            if text := await _get(client, "/api/v1/alerts"):
                now = firing_alerts(text)
                for alert in sorted(now ^ firing):
                    on_change(*alert, firing=alert in now)
                firing = now
            await asyncio.sleep(_PAUSE)


def check_states(exposition: str) -> dict[str, str]:
    """The state of each check in an exposition."""
    return {
        sample.labels["check"]: sample.labels["state"]
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
        if sample.name == "rounds_check_state" and sample.value == 1
    }


def firing_alerts(answer: str) -> set[tuple[str, str]]:
    """Name and subject of each alert that fires, of Prometheus' answer."""
    alerts = json.loads(answer)["data"]["alerts"]
    return {(alert["labels"]["alertname"], _about(alert["labels"])) for alert in alerts if alert["state"] == "firing"}


def _about(labels: dict[str, str]) -> str:
    severity = labels.get("severity", "")
    subject = labels.get("check") or labels.get("collector") or labels.get("instance") or ""
    parts = ", ".join(part for part in (severity, subject) if part)
    return f" ({parts})" if parts else ""


async def _get(client: httpx.AsyncClient, path: str) -> str:
    """The answer's text; empty where there is none, since a restart is no reason to end the demo."""
    try:
        response = await client.get(path)
    except httpx.HTTPError:
        return ""
    return response.text if response.is_success else ""
