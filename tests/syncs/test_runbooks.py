"""The statements that the runbooks ask for can be run as they stand, and show nobody's name."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest

from support.postgresql import PostgresqlServer
from support.syncs import SHAPES, SyncTable, sync_table

RUNBOOKS = sorted((Path(__file__).parents[2] / "docs" / "runbooks").glob("Sync*.md"))
NAME = "Nora Quimby"


def statements(runbook: Path) -> list[str]:
    blocks = re.findall(r"^```sql\n(.+?)^```", runbook.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [statement.strip() for block in blocks for statement in block.split(";") if statement.strip()]


WITH_STATEMENTS = [each for each in RUNBOOKS if statements(each)]


def name_of(runbook: Path) -> str:
    return runbook.stem


@pytest.fixture(scope="module", params=SHAPES)
def log(request: pytest.FixtureRequest, postgresql: PostgresqlServer) -> SyncTable:
    """A log whose rows have a patient's name wherever one may be, in each shape, for the organisation ``1``."""
    table = sync_table("postgresql", postgresql, request.param)
    now = time.time()
    said = {"step": "deletions_handled", "deactivated_patients": [NAME], "error": NAME, "patients_found": 648}
    common: dict[str, Any] = {
        "organization_id": 1 if table.shape == "seed" else "1",
        "metadata": said,
        "error_details": {"errors": [NAME]},
        "records_processed": 648,
        "records_success": 640,
        "records_failed": 8,
    }
    table.put_all(
        {**common, "status": status, "started_at": now - age}
        for status in ("running", "failed", "completed")
        for age in (60, 3 * 86_400)
    )
    return table


@pytest.mark.parametrize("runbook", WITH_STATEMENTS, ids=name_of)
def test_statements_run_and_show_no_name(log: SyncTable, runbook: Path) -> None:
    for statement in statements(runbook):
        if statement.startswith("CREATE INDEX CONCURRENTLY"):  # in no transaction
            with log.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql(statement)
            continue
        rows = log.sql(re.sub(r":(?!:)", r"\\:", statement))
        assert NAME not in repr(rows)
        if "FROM sync_logs" in statement:
            assert rows, "it finds what it is for"


@pytest.mark.parametrize("runbook", WITH_STATEMENTS, ids=name_of)
def test_statements_take_numbers_and_words_of_closed_sets_alone_from_documents(runbook: Path) -> None:
    """What is run in haste is pasted somewhere."""
    allowed = "step|error_type|timestamp|current_page|total_pages|patients_(found|deleted|processed)"
    for statement in statements(runbook):
        rest = re.sub(rf"metadata->>'({allowed})'", "", statement)
        assert not re.search(r"metadata|error_details", rest)
        assert "*" not in rest.replace("COUNT(*)", "")


def test_the_index_is_the_one_that_looks_use(postgresql: PostgresqlServer) -> None:
    table = sync_table("postgresql", postgresql, "seed", index=False)
    runbook = next(each for each in RUNBOOKS if each.stem == "SyncSchemaProblem")
    made = next(each for each in statements(runbook) if "CREATE" in each)
    with table.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(made)
    found = table.sql("SELECT indexdef FROM pg_indexes WHERE tablename = 'sync_logs' AND indexdef LIKE '%(started_at)'")
    assert len(found) == 1
