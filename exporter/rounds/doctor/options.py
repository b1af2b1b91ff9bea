"""The command's options. Apart from what it does with them, so that no other command loads that."""

from __future__ import annotations

import argparse
from pathlib import Path

from rounds.doctor import report

EXPORTER, PROMETHEUS, ALERTMANAGER = (f"http://127.0.0.1:{port}" for port in (12780, 9090, 9093))

EPILOG = """\
What it costs: one login for each source, and statements on catalogues; of tables no row is read. In Snowflake these are
statements on metadata, which wake no warehouse. Each host of a check is looked up, and none of them connected to. A
ledger in SQLite is read once as a whole. Nothing is written anywhere, and no message is sent.

Run it as the user that the exporter runs as, where the exporter runs: what may be read, and where names lead to, is
different elsewhere. Exit codes: 0 nothing worse than hints, 1 a warning or an error, 2 wrong use."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Its options, besides ``--config.file``, ``--web.config.file`` and those of logs."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--exporter", metavar="URL", help=f"the running exporter (default: {EXPORTER}, if it answers)")
    add("--user", help="user of the exporter's basic authentication")
    add("--password-file", type=Path, metavar="FILE", help="file with that user's password")
    add("--ca-file", type=Path, metavar="FILE", help="certificate authority of the exporter's TLS certificate")
    add("--prometheus", metavar="URL", help=f"Prometheus (default: {PROMETHEUS}, if it answers)")
    add("--alertmanager", metavar="URL", help="Alertmanager (default: those that Prometheus sends to)")
    add("--grafana-url", metavar="URL", help="a running Grafana; without it only its files are examined")
    add("--grafana-token-file", type=Path, metavar="FILE", help="file with a token of a service account of Grafana")
    text = "folder that has grafana/ and prometheus/ (default: the current one or the checkout, if they have them)"
    add("--bundle", type=Path, metavar="DIR", help=text)
    add("--format", choices=sorted(report.FORMATS), default="text")
