"""What is told of sources: whether they answer, and how many statements they were sent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rounds.databases.databases import Databases
from rounds.databases.mariadb import settings
from rounds.errors import CollectorError
from rounds.exposition import Exposition
from rounds.selfmetrics import SelfMetrics
from support.databases import SqliteFiles, databases_for


def told(databases: Databases) -> dict[str, float]:
    families = SelfMetrics(Exposition(), databases).families([])
    return {
        f"{family.metric.name} {labels[0]}": float(value)  # type: ignore[arg-type]  # no histogram is among them
        for family in families
        if family.metric.name.startswith("rounds_source_")
        for labels, value in family.samples
    }


def test_a_source_that_is_not_used_has_a_count_and_no_state(tmp_path: Path) -> None:
    files = SqliteFiles(tmp_path)
    name = files.create_database()
    databases = databases_for({"a": files.source(name), "b": files.source("gone")})
    assert told(databases) == {"rounds_source_queries_total a": 0, "rounds_source_queries_total b": 0}
    with databases.open("a") as session:
        session.all("SELECT 1")
        with pytest.raises(CollectorError):
            session.all("SELECT gone")
    with pytest.raises(CollectorError):
        databases.open("b")
    assert told(databases) == {
        "rounds_source_up a": 1,
        "rounds_source_up b": 0,
        "rounds_source_queries_total a": 2,
        "rounds_source_queries_total b": 0,
    }
    databases.configure({"a": files.source(name)})
    assert told(databases) == {"rounds_source_up a": 1, "rounds_source_queries_total a": 2}


def test_drivers_are_imported_when_a_source_of_their_kind_is_opened() -> None:
    program = (
        "import sys; import rounds.cli, rounds.exporter; "
        "print([name for name in ('pymysql', 'psycopg', 'snowflake') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("version", "present", "absent"),
    [
        ("10.11.6-MariaDB-0+deb12u1", ["max_statement_time = 1.500"], ["max_execution_time", "stats_expiry"]),
        ("5.5.5-10.6.1-MariaDB", ["max_statement_time = 1.500"], ["max_execution_time"]),
        ("8.0.36", ["max_execution_time = 1500", "information_schema_stats_expiry = 0"], ["max_statement_time"]),
        ("5.7.44-log", ["max_execution_time = 1500"], ["max_statement_time", "stats_expiry"]),
    ],
)
def test_mysql_is_told_in_its_own_words(version: str, present: list[str], absent: list[str]) -> None:
    """There is no MySQL among the tests' servers."""
    text = "; ".join(settings(version, 1.5))
    assert [each for each in present if each not in text] == []
    assert [each for each in absent if each in text] == []
    assert "READ ONLY" in text
