"""Reading a log out of databases."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rounds.syncs.config import Sync
from rounds.syncs.log import Log, Record
from rounds.syncs.reading import Reading
from support.databases import databases_for
from support.syncs import SyncTable

NOW = 1_780_000_000.0
MakeTable = Callable[..., SyncTable]


def sync_of(**keys: Any) -> Sync:
    return Sync.model_validate({"name": "cliniko", "source": "s", **keys})


def reading_of(table: SyncTable, **keys: Any) -> Reading:
    return Reading(sync_of(**keys), databases_for({"s": table.source}))


@contextmanager
def opened(table: SyncTable, **keys: Any) -> Iterator[Log]:
    with reading_of(table, **keys).open() as log:
        yield log


def test_a_row_is_read_whole(table: SyncTable) -> None:
    metadata = {"step": "storing_patients", "n": [1, None]}
    identity = table.put(
        organization_id=123,
        status=" Completed ",
        started_at=NOW - 60.5,
        completed_at=NOW,
        updated_at=NOW + 1,
        records_processed=648,
        records_success=640,
        records_failed=8,
        metadata=metadata,
        error_details={"errors": ["x"]},
    )
    expected = Record(
        id=identity,
        organization="123",
        operation="full_patients",
        status="completed",
        started=NOW - 60.5,
        completed=NOW,
        updated=NOW + 1 if table.shape == "real" else None,
        processed=648,
        succeeded=640,
        failed=8,
        metadata=metadata,
        details={"errors": ["x"]},
    )
    with opened(table) as log:
        assert list(log.records([identity])) == [expected]
        assert list(log.recent(NOW - 100, 10)) == [expected]
        [glimpse] = log.glimpses(NOW - 100)
        assert (glimpse.id, glimpse.started, glimpse.status) == (identity, NOW - 60.5, "completed")
        assert [*log.glimpses(NOW), *log.recent(NOW, 10)] == []
        assert abs(log.now() - time.time()) < 60
        missing = {"updated_at", "source_system"} if table.shape == "seed" else set()
        assert log.problems == {f"no column {name}" for name in missing}
