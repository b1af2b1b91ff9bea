"""The demo's first screen: what is shown, on which engines, and where to look."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rounds.demo.bundle import CHECK_TIMES, Databases, sqlite
from rounds.demo.display import Display

_ENGINES = {"snowflake": "Snowflake", "mariadb": "MariaDB", "postgresql": "PostgreSQL", "sqlite": "SQLite"}


def introduce(display: Display, moved: Sequence[str], databases: Databases, factor: float) -> None:
    """Say what there is.

    Args:
        display: prints it.
        moved: what has another port than usual, each with its port.
        databases: where the data are.
        factor: how many times faster than in production alerting is; 0 without alerting.
    """
    if moved:
        display.plain(f"On other ports than usual, as theirs are taken: {', '.join(moved)}.")
    sources = (databases.warehouse or sqlite(databases.clinic), databases.apr, databases.syncs)
    tables, apr, syncs = (f"{_ENGINES[source['kind']]:<12}" for source in sources)
    also = " (by a stand-in; the latter in SQLite)" if databases.warehouse else ""
    every = CHECK_TIMES["interval"]
    display.heading("Five domains, on synthetic data; nobody in them is real")
    display.plain(
        f"    services  HTTP        nine checks, every {every}, of services that fail, are slow and recover",
        f"    tables    {tables}patients and appointments that come, change and go{also}",
        f"    apr       {apr}a pipeline of proposals, with a past of some days",
        f"    syncs     {syncs}three clinics whose patients are synchronised",
        "    emr       SQLite      a clinic's desktop program that has its troubles, and crashes now and then",
    )
    if factor:
        display.plain(
            "",
            f"Rules and routes are production's, {factor:g} times as fast; limits are as short.",
            "Messages still name production's times, and rules over hours see only the minutes since the start.",
        )


def point(display: Display, exporter: str, alerting: Mapping[str, str], config: Path) -> None:
    """Say where to look, and what to try.

    Args:
        display: prints it.
        exporter: its address.
        alerting: those of ``prometheus`` and ``alertmanager``; empty without alerting.
        config: the exporter's configuration.
    """
    display.heading("Look at")
    display.plain(f"    checks    {exporter}", f"    metrics   {exporter}metrics")
    if alerting:
        display.plain(f"    alerts    {alerting['prometheus']}, page Alerts")
        display.plain(f"    notified  {alerting['alertmanager']}api/v2/alerts")
    program = sys.argv[0] if Path(sys.argv[0]).name == "rounds" else "rounds"
    display.heading("Try, in another terminal")
    display.plain(f"    {program} status --url={exporter.rstrip('/')}")
    for words in ("changes", "apr show", "syncs tail", "emr report"):
        display.plain(f"    {program} {words} --config.file={config}")
    display.heading("What happens: when, in which domain, who says it, and what")
    if alerting:
        display.plain("Slack and e-mail messages are shown as they arrive.")
    display.plain("Ctrl-C ends the demo.", "")
