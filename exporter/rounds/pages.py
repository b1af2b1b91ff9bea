"""The landing page."""

from __future__ import annotations

import time
from html import escape
from typing import Any

from rounds.fields import format_duration

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --muted: #7f8792;
  --ok: #2f9e58; --failed: #d6453d; --waiting: #b98900 }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 80rem; margin: 2.5rem auto; padding: 0 1.25rem }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
p { margin: .25rem 0 } .muted { color: var(--muted) } nav { margin: 1rem 0 } nav a { margin-right: 1.25rem }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th { text-align: left; font-weight: 600; color: var(--muted) }
th, td { padding: .35rem .75rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
th, td { white-space: nowrap }
td.found { white-space: normal; width: 100% }
td.number, th.number { text-align: right }
.state::before { content: "\\25CF"; margin-right: .4rem }
.ok::before { color: var(--ok) } .failed::before { color: var(--failed) } .waiting::before { color: var(--waiting) }
"""

_LINKS = (
    ("metrics", "Metrics"),
    ("api/v1/status", "Status"),
    ("config", "Configuration"),
    ("-/ready", "Readiness"),
    ("-/healthy", "Health"),
)


def landing_page(status: dict[str, Any]) -> str:
    """The page, from the data of :func:`rounds.status.status_of`."""
    now = time.time()
    links = "".join(f'<a href="{path}">{title}</a>' for path, title in _LINKS)
    sections = "".join(_collector(collector, now) for collector in status["collectors"])
    loaded = status["config"]["loaded"]
    notice = (
        f"Configuration loaded {ago(loaded, now)}."
        if status["config"]["last_reload_successful"]
        else f"The last reload was refused; the configuration of {ago(loaded, now)} stays in use. The log says why."
    )
    lease = f"<p>{escape(lease_line(status['lease'], now))}</p>" if status["lease"] else ""
    empty = (
        ""
        if sections or (status["lease"] and not status["lease"]["held"])
        else "<p>No domain is configured, so there is nothing to collect.</p>"
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Rounds</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body>"
        f'<h1>Rounds</h1><p class="muted">Prometheus exporter, version {escape(status["version"])}, '
        f"up for {span(now - status['started'])}. {notice}</p>{lease}"
        f"<nav>{links}</nav>{empty}{sections}</body></html>\n"
    )


def lease_line(lease: dict[str, Any], now: float) -> str:
    """What is to be said of the ledger's lease, in one line."""
    if lease["held"]:
        return f"Took the lease of the ledger {ago(lease['since'], now)}, as {lease['this']}."
    others = lease["holder"] if lease["holder"] != lease["this"] else None
    holder = f"{others} holds the lease of the ledger" if others else "nobody is seen to hold the lease of the ledger"
    return f"Stands by for {span(now - lease['since'])} and runs no job: {holder}."


def _collector(collector: dict[str, Any], now: float) -> str:
    jobs = collector["jobs"]
    bad = sum(job["state"] == "failed" for job in jobs)
    count = f"{len(jobs)} job{'s' if len(jobs) != 1 else ''}" + (f", {bad} failing" if bad else "")
    heads = "".join(
        f"<th{' class=number' if number else ''}>{title}</th>"
        for title, number in (
            ("Job", False),
            ("Run", False),
            ("Found", False),
            ("Last run", False),
            ("Last success", False),
            ("Duration", True),
            ("Interval", True),
            ("Runs", True),
            ("Failed", True),
            ("Series", True),
        )
    )
    rows = "".join(_job(job, now) for job in jobs)
    title = f"<h2>{escape(collector['name'])} <span class=muted>{count}</span></h2>"
    return f"{title}<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _job(job: dict[str, Any], now: float) -> str:
    error = f"<br><span class=muted>{escape(job['reason'])}: {escape(job['error'])}</span>" if job["error"] else ""
    numbers = (
        "" if job["duration"] is None else f"{job['duration']:.3f} s",
        format_duration(job["interval"]),
        job["runs"],
        job["failures"],
        job["samples"],
    )
    cells = "".join(f"<td class=number>{number}</td>" for number in numbers)
    return (
        f"<tr><td>{escape(job['name'])}</td><td class='state {job['state']}'>{job['state']}</td>"
        f"<td class=found>{escape(job['found'])}{error}</td>"
        f"<td>{ago(job['last_run'], now)}</td><td>{ago(job['last_success'], now)}</td>{cells}</tr>"
    )


def ago(timestamp: float | None, now: float) -> str:
    """How long ago a time in Unix seconds is, for people."""
    return "never" if timestamp is None else f"{span(now - timestamp)} ago"


def span(seconds: float) -> str:
    """A length of time in its two largest units."""
    whole = max(0, int(seconds))
    for size, unit, below, smaller in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            return f"{whole // size}{unit} {whole % size // below}{smaller}"
    return f"{whole}s"
