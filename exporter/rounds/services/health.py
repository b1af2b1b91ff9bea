"""``GET /health``: what a consumer of the old ``health-status.json`` expects, in the same shape."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from rounds.domain import STALE_INTERVALS
from rounds.services.config import Check, TcpCheck
from rounds.services.state import CheckState, target


def health(checks: Iterable[tuple[Check, CheckState]], now: float | None = None) -> dict[str, Any] | None:
    """The health of all checks that were probed, or None before the first was.

    A check that was not probed for three intervals is DOWN: what was last seen of it is no longer known to be true.
    Response times are in milliseconds, times in ISO 8601 with UTC's offset.
    """
    now = time.time() if now is None else now
    services = [_service(check, state, now) for check, state in checks if state.ended is not None]
    if not services:
        return None
    statuses = [service["status"] for service in services]
    return {
        "timestamp": _iso(now),
        "total_services": len(services),
        "healthy_services": statuses.count("UP"),
        "degraded_services": statuses.count("DEGRADED"),
        "failed_services": statuses.count("DOWN"),
        "services": services,
    }


def _service(check: Check, state: CheckState, now: float) -> dict[str, Any]:
    last = state.last
    stale = state.ended is not None and now - state.ended > STALE_INTERVALS * check.interval
    return {
        "name": check.name,
        "url": f"tcp://{target(check)}" if isinstance(check, TcpCheck) else target(check),
        "status": "DOWN" if stale else (state.state or "down").upper(),
        "response_time_ms": round(last.elapsed * 1000, 3) if last and last.answered else None,
        "last_check": _iso(state.ended or now),
        "error_message": "stale: not probed lately" if stale else state.error,
        "status_code": last.status_code if last else None,
    }


def _iso(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="milliseconds")
