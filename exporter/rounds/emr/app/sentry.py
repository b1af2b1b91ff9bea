"""Sentry, where an application has it: events that hold names and line numbers, and no data.

They are made here and sent like crash reports, through the spool, so that they survive days without a network.
``sentry_sdk`` itself is not imported: what it would add to an event (locals, messages, the computer's name) is what
must not leave it. That it is installed is how an application says that it wants Sentry, besides ``SENTRY_DSN``.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from rounds.emr.app.sending import Headers, Target, allowed, retry_after

_CLIENT = "rounds-emr/1"


@dataclass(frozen=True)
class Dsn:
    """Where events go: the address of the project's envelopes, and its public key."""

    url: str
    key: str


def configured(environment: dict[str, str] | None = None) -> Dsn | None:
    """What ``SENTRY_DSN`` says, None where it is absent or senseless or ``sentry_sdk`` is not installed."""
    environment = dict(os.environ) if environment is None else environment
    text = environment.get("SENTRY_DSN", "")
    if not text or importlib.util.find_spec("sentry_sdk") is None:
        return None
    dsn = parse(text)
    if dsn is None:
        logging.getLogger("rounds.emr").warning(
            "Sentry is not used: its DSN is none, or neither https nor on this computer"
        )
    return dsn


def parse(text: str) -> Dsn | None:
    """A DSN, ``https://KEY@HOST/PROJECT``, or None where it is none or would be sent unprotected."""
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    path, _, project = parts.path.rpartition("/")
    if not host or not parts.username or not project:
        return None
    place = f"[{host}]" if ":" in host else host
    url = f"{parts.scheme}://{place}{f':{port}' if port else ''}{path}/api/{project}/envelope/"
    return Dsn(url, parts.username) if allowed(url) else None


def target(dsn: Dsn) -> Target:
    """How the sender reaches it."""
    return Target(
        "sentry",
        dsn.url,
        {
            "Content-Type": "application/x-sentry-envelope",
            "X-Sentry-Auth": f"Sentry sentry_version=7, sentry_client={_CLIENT}, sentry_key={dsn.key}",
        },
        pause,
    )


@dataclass(frozen=True)
class Event:
    """What an event says. ``trace`` is of lines ``module:function:line``, outermost first."""

    at: float
    error_type: str
    fingerprint: str
    trace: Sequence[str]
    level: str
    """``fatal`` for what ended the process, else ``error``."""
    release: str
    environment: str
    os: str
    python: str


def envelope(event: Event) -> bytes:
    """An envelope with one event, as Sentry's protocol has it."""
    event_id = uuid.uuid4().hex
    at = datetime.fromtimestamp(event.at, UTC).isoformat().replace("+00:00", "Z")
    error: dict[str, Any] = {
        "type": event.error_type or "Crash",
        "mechanism": {"type": "generic", "handled": event.level != "fatal"},
    }
    if frames := [frame for line in event.trace if (frame := _frame(line))]:
        error["stacktrace"] = {"frames": frames}
    payload = json.dumps(
        {
            "event_id": event_id,
            "timestamp": at,
            "platform": "python",
            "level": event.level,
            "release": event.release,
            "environment": event.environment,
            "exception": {"values": [error]},
            "fingerprint": [event.fingerprint],
            "contexts": {"os": {"name": event.os}, "runtime": {"name": "CPython", "version": event.python}},
        }
    ).encode()
    item = {"type": "event", "content_type": "application/json", "length": len(payload)}
    return b"\n".join([json.dumps({"event_id": event_id}).encode(), json.dumps(item).encode(), payload, b""])


def _frame(line: str) -> dict[str, Any] | None:
    module, _, rest = line.partition(":")
    function, _, number = rest.rpartition(":")
    if not function or not number.isdecimal():
        return None
    return {"module": module, "function": function, "lineno": int(number), "in_app": True}


def pause(headers: Headers) -> float | None:
    """Seconds for which an answer wants no more events, None where it says nothing of them.

    ``X-Sentry-Rate-Limits`` is a list of ``SECONDS:CATEGORIES:SCOPE``, with no category where it means all.
    """
    asked = [asked] if (asked := retry_after(headers)) is not None else []
    for limit in (headers.get("X-Sentry-Rate-Limits") or "").split(","):
        seconds, _, rest = limit.strip().partition(":")
        categories = rest.partition(":")[0]
        if categories and not {"error", "default"} & set(categories.split(";")):
            continue
        if seconds.isdecimal():
            asked.append(float(seconds))
    return max(asked, default=None)
