"""``GET /probe?check=NAME``: one probe, now, as an exposition of its own; with ``debug=true``, as an explanation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import yaml
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from rounds.exposition import render
from rounds.negotiation import OPENMETRICS, TEXT, wants_openmetrics
from rounds.services.config import Check
from rounds.services.history import History
from rounds.services.prober import Prober
from rounds.services.resolver import Resolver
from rounds.services.state import CheckMetrics, CheckState, finding

#: What the answer itself needs of the time that Prometheus allows for its scrape.
SCRAPE_MARGIN = 0.5
_SCRAPE_TIMEOUT = "X-Prometheus-Scrape-Timeout-Seconds"


@dataclass(frozen=True)
class Probed:
    """A configured check and what its probes found.

    Attributes:
        state: what is known of it, where requests are all that probes it; None where a schedule does.
    """

    check: Check
    metrics: CheckMetrics
    history: History
    state: CheckState | None = None


class BadRequest(Exception):  # noqa: N818  # the HTTP status' name
    """The request's parameters are wrong; the message says how."""


def probe_timeout(check: Check, header: str | None) -> float:
    """Seconds for a probe: the check's timeout, or less when Prometheus would not wait that long.

    Raises:
        BadRequest: the header is no number of seconds.
    """
    if not header:
        return check.timeout
    try:
        allowed = float(header)
    except ValueError:
        raise BadRequest(f"{_SCRAPE_TIMEOUT} is not a number") from None
    return max(min(check.timeout, allowed - SCRAPE_MARGIN), 0.001)


def choose(parameters: Mapping[str, str], checks: Mapping[str, Probed]) -> Probed:
    """The configured check that the parameters name. Nothing but a name is taken: a URL from a parameter would let
    anyone who can reach the exporter send requests with its credentials.

    Raises:
        BadRequest: no such check, or another parameter.
    """
    unknown = sorted(parameters.keys() - {"check", "debug"})
    if unknown:
        raise BadRequest(f"unknown parameter {', '.join(unknown)}; known: check, debug")
    name = parameters.get("check")
    if not name:
        raise BadRequest("the parameter check is missing")
    if name not in checks:
        raise BadRequest("no check of this name is configured")
    return checks[name]


async def probe(request: Request, checks: Mapping[str, Probed]) -> Response:
    """Answer a request for a probe. The scrape succeeds whatever the probe finds."""
    try:
        chosen = choose(dict(request.query_params), checks)
        timeout = probe_timeout(chosen.check, request.headers.get(_SCRAPE_TIMEOUT))
    except BadRequest as error:
        return PlainTextResponse(f"{error}\n", 400)
    prober = Prober(chosen.check, Resolver())
    try:
        result = await prober.probe(timeout)
    finally:
        await prober.close()
    debug = request.query_params.get("debug") == "true"
    # Somebody who looks is not counted.
    counted = chosen.state is not None and not debug
    state = chosen.state if chosen.state is not None and counted else CheckState()
    state.update(result, chosen.check)
    families = chosen.metrics.families(state) if counted else list(chosen.metrics.gauges(state))
    if counted:
        chosen.history.add(state.ended or 0, finding(state), failed=state.reason is not None)
    if debug:
        return PlainTextResponse(_explanation(chosen, state, render(families).decode()))
    openmetrics = wants_openmetrics(request.headers.get("accept", ""))
    body = render(families, openmetrics=openmetrics)
    return Response(body, headers={"Content-Type": OPENMETRICS if openmetrics else TEXT})


def _explanation(chosen: Probed, state: CheckState, exposition: str) -> str:
    configured = chosen.check.model_dump(mode="json", exclude_unset=True)
    paragraphs = (
        [f"{chosen.check.name} is {finding(state)}"],
        ["Log:", *(state.last.log if state.last else ())],
        ["Metrics:", *exposition.splitlines()],
        ["Configuration, as far as it was set:", *yaml.safe_dump(configured, sort_keys=False).splitlines()],
        ["Last probes and failures, newest first:", *(chosen.history.lines() or ["none yet"])],
    )
    return "\n\n".join("\n".join(lines) for lines in paragraphs) + "\n"
