"""Which exposition format and encoding a scrape asks for."""

from __future__ import annotations

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_OPENMETRICS_VERSIONS = ("", "0.0.1", "1.0.0")


def wants_openmetrics(accept: str) -> bool:
    """Whether an ``Accept`` header prefers OpenMetrics 1.0 to text: it must name it, and not like it less."""
    openmetrics = text = 0.0
    for kind, parameters, quality in _parse(accept):
        if kind == "application/openmetrics-text" and parameters.get("version", "") in _OPENMETRICS_VERSIONS:
            openmetrics = max(openmetrics, quality)
        elif kind == "text/plain" and parameters.get("version", "0.0.4") == "0.0.4":
            text = max(text, quality)
    return openmetrics > 0 and openmetrics >= text


def wants_gzip(accept_encoding: str) -> bool:
    """Whether an ``Accept-Encoding`` header allows gzip."""
    named = {kind: quality for kind, _, quality in _parse(accept_encoding)}
    return named.get("gzip", named.get("*", 0.0)) > 0


def _parse(header: str) -> list[tuple[str, dict[str, str], float]]:
    """The header's alternatives: name, parameters and quality (1 unless it is given; 0 where it is no number)."""
    found = []
    for alternative in header.split(","):
        name, *rest = (part.strip().lower() for part in alternative.split(";"))
        parameters = {key.strip(): value.strip().strip('"') for key, _, value in (part.partition("=") for part in rest)}
        try:
            quality = float(parameters.pop("q", "1"))
        except ValueError:
            quality = 0.0
        found.append((name, parameters, quality))
    return found
