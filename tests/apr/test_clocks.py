"""Times come from the database's clock, wherever the program and the server think that they are."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from sqlalchemy.orm import Session

from rounds import apr
from support.apr import Installation

#: What a run of a pipeline does, in a process with a time zone of its own.
_RUN = """
import sys
from datetime import date
from sqlalchemy import create_engine, event, text
from sqlalchemy.orm import Session
from rounds.apr import *
engine = create_engine(sys.argv[1])
if sys.argv[2]:
    event.listen(engine, "connect", lambda made, _: made.cursor().execute(f"SET time_zone = '{sys.argv[2]}'"))
day = date(2026, 3, 6)
record = {"DATA": day, "PROPOSTA": 1, "CEDENTE": "Cliente Um"}
with Session(engine) as session:
    if sys.argv[3] == "detect":
        log_invalid_records(session, [record], "SEUNO", alerted_count=1)
    else:
        print(auto_resolve_invalid_records(session, day))
        track_status_changes(session, day)
        log_program_execution(session, day, {}, 1)
        update_daily_summary(session, day)
"""
#: By the names of their offsets, since a server need not have loaded the names of zones.
_SAO_PAULO = "-03:00"


def run(installation: Installation, what: str, *, app: str, server: str) -> None:
    url = installation.url.render_as_string(hide_password=False)
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path), "TZ": app}
    subprocess.run([sys.executable, "-c", _RUN, url, server, what], check=True, env=environment)


@pytest.mark.parametrize("kind", ["mariadb", "sqlite"])
@pytest.mark.parametrize(
    ("app", "server"), [("America/Sao_Paulo", "+00:00"), ("UTC", _SAO_PAULO), ("Asia/Tokyo", _SAO_PAULO)]
)
def test_a_resolution_takes_as_long_as_it_takes(
    request: pytest.FixtureRequest, kind: str, app: str, server: str
) -> None:
    if kind == "sqlite" and server != "+00:00":
        pytest.skip("SQLite has one time zone")
    installation = request.getfixturevalue("on_mariadb" if kind == "mariadb" else "on_sqlite")
    zone = server if kind == "mariadb" else ""
    run(installation, "detect", app=app, server=zone)
    installation.age("apr_invalid_records", "detected_at", 90)
    for _ in range(2):
        installation.sight(1)
    # Another run may be in another zone.
    run(installation, "resolve", app="UTC", server=zone and "+09:00")
    seconds = "UNIX_TIMESTAMP({})" if kind == "mariadb" else "CAST(strftime('%s', {}) AS INTEGER)"
    between = f"{seconds.format('resolved_at')} - {seconds.format('detected_at')}"
    assert 90 <= installation.one(f"SELECT {between} FROM apr_invalid_records") < 120
    now = seconds.format("CURRENT_TIMESTAMP")
    for table, column in (
        ("apr_invalid_records", "alerted_at"),
        ("apr_status_history", "changed_at"),
        ("apr_processing_log", "run_timestamp"),
        ("apr_daily_summary", "last_updated"),
    ):
        assert 0 <= installation.one(f"SELECT {now} - {seconds.format(column)} FROM {table}") < 60, table


def test_what_is_old_is_old_by_the_clock_of_the_database(on_mariadb: Installation) -> None:
    """A program whose clock is far ahead deletes nothing more."""
    on_mariadb.sql("INSERT INTO apr_daily_summary (DATA) VALUES (CURRENT_DATE - INTERVAL 10 DAY)")
    code = (
        "import sys, time; time.time = lambda: 4e9;"
        "from sqlalchemy import create_engine; from sqlalchemy.orm import Session; from rounds.apr import *;"
        "cleanup_old_monitoring_data(Session(create_engine(sys.argv[1])))"
    )
    url = on_mariadb.url.render_as_string(hide_password=False)
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", code, url], check=True, env=environment)
    assert on_mariadb.one("SELECT COUNT(*) FROM apr_daily_summary") == 1
    with Session(on_mariadb.engine) as session:
        assert apr.cleanup_old_monitoring_data(session, 9)["apr_daily_summary"] == 1
