"""Logs at the level debug, of Rounds and of all drivers, hold no secret, no statement and no value."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rounds.sources import Source
from support.databases import SqliteFiles, sources_yaml

#: In a process of its own: drivers take levels over when they are imported.
PROGRAM = """
import logging, sys
from pathlib import Path
from rounds.config import load_config
from rounds.databases.databases import Databases
from rounds.errors import CollectorError
from rounds.logs import configure_logs

configure_logs("debug", "logfmt")
databases = Databases()
databases.configure(load_config([Path(sys.argv[1])], {}).sources)
logging.getLogger("probe").debug("logs are on")
for statement in sys.argv[2:]:
    for name in ("good", "bad"):
        try:
            with databases.open(name) as session:
                print(len(session.all(statement)), len(list(session.stream(statement))))
        except CollectorError as error:
            logging.getLogger("probe").info("failed: %s", error)
"""


@pytest.mark.parametrize("kind", ["mariadb", "postgresql", "sqlite", "fakesnow"])
def test_nothing_is_told(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    files = tmp_path / "files"
    files.mkdir()
    server: Any = SqliteFiles(files) if kind == "sqlite" else request.getfixturevalue(kind)
    database = server.create_database()
    server.sql(
        "CREATE TABLE t (id int, name varchar(90))", "INSERT INTO t VALUES (1, 'Jane Planted')", database=database
    )
    good: Source = server.source(database)
    secrets = ["Jane", "planted", "secret", "tests"]
    bad = good if kind == "sqlite" else server.source(database, user="planted user", password="planted password")
    (tmp_path / "rounds.yml").write_text(sources_yaml({"good": good, "bad": bad}), encoding="utf-8")
    table = f"{database}.public.t" if kind == "fakesnow" else "t"
    statements = [
        f"SELECT * FROM {table} WHERE name = 'Jane Planted'",
        f"SELECT 'Jane Planted' FROM {table} WHERE planted = 1",
        "SELECT 'Jane Planted' FROM planted.planted.planted",
    ]
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "rounds.yml"), *statements]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[0] == "1 1"
    assert "logs are on" in done.stderr
    assert "failed: " in done.stderr
    assert "Traceback" not in done.stderr
    assert [secret for secret in secrets if secret.lower() in done.stderr.lower()] == [], done.stderr
