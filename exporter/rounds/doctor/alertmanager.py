"""Alertmanager: whether it answers, and whether what it is told reaches anybody."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from rounds.doctor.finding import Finding, Level
from rounds.doctor.web import NoAnswer, Site

#: Gets a message a minute, whatever happens; people do not read it.
_DEADMAN = "deadman"
_RENDER = (
    "fill .env (.env.example has every key: SLACK_WEBHOOK_URL, SMTP_HOST, ALERT_WEBHOOK_URL)",
    "python alertmanager/render.py --output DIR, and start Alertmanager with DIR/alertmanager.yml",
    "with Docker Compose: docker compose up -d --wait",
)


def examine(site: Site, absent: Level) -> Iterator[Finding]:
    """Examine it.

    Args:
        site: where it listens.
        absent: how bad it is if it does not.
    """
    try:
        status = site.json("/api/v2/status")
        config = yaml.safe_load(status["config"]["original"])
        version = status["versionInfo"]["version"]
    except (NoAnswer, KeyError, TypeError, yaml.YAMLError) as error:
        told = str(error) if isinstance(error, NoAnswer) else "answers, but is no Alertmanager"
        remedy = "start Alertmanager there (docs/alerting.md), or name it with --alertmanager=URL"
        yield Finding(absent, "alertmanager", site.url, told, (remedy,))
        return
    yield Finding("ok", "alertmanager", site.url, f"answers, version {version}")
    yield from _examine_receivers(site, config)


def _examine_receivers(site: Site, config: Any) -> Iterator[Finding]:
    receivers = {str(each["name"]): _channels(each) for each in config.get("receivers", [])}
    used = _used(config.get("route", {}))
    telling = {name: channels for name, channels in receivers.items() if channels and name in used and name != _DEADMAN}
    silent = sorted(name for name in used if not receivers.get(name) and name != _DEADMAN)
    if not telling:
        found = "no receiver sends anything to anybody: all alerts end here"
        yield Finding("warning", "alertmanager", site.url, found, _RENDER)
        return
    for name, channels in telling.items():
        yield Finding("ok", "alertmanager", f"receiver {name}", f"sends to {', '.join(channels)}")
    for name in silent:
        yield Finding("hint", "alertmanager", f"receiver {name}", "sends nothing to anybody", _RENDER)
    if _DEADMAN in receivers and not receivers[_DEADMAN]:
        found = "nobody notices when alerting itself stops"
        remedy = "set DEADMAN_WEBHOOK_URL in .env to a service that waits for a message a minute (docs/alerting.md)"
        yield Finding("hint", "alertmanager", "dead man's switch", found, (remedy,))


def _channels(receiver: dict[str, Any]) -> list[str]:
    return [key.removesuffix("_configs") for key, value in receiver.items() if key.endswith("_configs") and value]


def _used(route: dict[str, Any]) -> set[str]:
    below = (_used(each) for each in route.get("routes") or [])
    return {str(route["receiver"])}.union(*below) if "receiver" in route else set().union(*below)
