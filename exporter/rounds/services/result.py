"""What one probe found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

Reason: TypeAlias = Literal[
    "timeout", "dns", "connect", "tls", "http_status", "body", "too_large", "redirect", "slow", "error"
]
Phase: TypeAlias = Literal["resolve", "connect", "tls", "processing", "transfer"]
State: TypeAlias = Literal["up", "degraded", "down"]

REASONS: tuple[Reason, ...] = get_args(Reason)
PHASES: tuple[Phase, ...] = get_args(Phase)
STATES: tuple[State, ...] = get_args(State)


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What one probe found. What was not measured is None or absent, never 0.

    Attributes:
        started: when the probe began, in Unix seconds.
        elapsed: seconds from its begin to its end, also where it timed out.
        reason: why it failed, or None. ``slow`` is not given here: thresholds are applied by the check's state.
        detail: the failure in words, for logs and pages: no secret, nothing of the body.
        answered: a response came (HTTP) or the connection stood (TCP), or the whole timeout was spent waiting for it:
            ``elapsed`` then says something of the service, else (refused, no such name) it does not.
        phases: seconds by phase, summed over redirects; only phases that happened.
        status_code: of the last response.
        redirects: how many were met.
        body_bytes: the length of the body as read, after decoding.
        tls_expiry: when the server's certificate expires, in Unix seconds.
        log: the probe's own account, a line a step, for ``/probe?debug=true``.
    """

    started: float
    elapsed: float
    reason: Reason | None = None
    detail: str = ""
    answered: bool = False
    phases: Mapping[Phase, float] = field(default_factory=dict)
    status_code: int | None = None
    redirects: int = 0
    body_bytes: int | None = None
    tls_expiry: float | None = None
    log: tuple[str, ...] = ()
