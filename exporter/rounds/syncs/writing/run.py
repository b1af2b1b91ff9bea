"""One run of a sync, as its program tells it."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from sqlalchemy import Engine

from rounds.syncs.states import ErrorClass, Step


class SyncRun:
    """Keeps a row of the log up to date while a sync runs; a context manager, plain and async.

    ::

        with SyncRun(engine, organization="org_1", operation="full_patients") as run:
            run.step("fetching_patients")
            for number, page in enumerate(pages, 1):
                run.page(number, of=13, loaded=len(patients))
            run.found(len(patients))
            run.step("storing_patients")
            for patient in patients:
                ...
                run.stored()          # or run.failed("constraint")
            run.deleted(3)

    Nothing that goes wrong with the log reaches the sync: it goes on, and the log gets what it can.

    Args:
        engine: of the database that has the log. Or its URL.
        organization: whose data is synchronised.
        operation: what is synchronised.
        table: the log's name.
        source_system: what the row is about, where the log has such a column.
    """

    def __init__(
        self,
        engine: Engine | str,
        *,
        organization: str | int,
        operation: str,
        table: str = "sync_logs",
        source_system: str = "cliniko",
    ) -> None:
        raise NotImplementedError

    def step(self, step: Step) -> None:
        """The run has come so far."""

    def page(self, page: int, *, of: int | None = None, loaded: int | None = None) -> None:
        """A page was fetched, of so many, and so many patients are loaded by now."""

    def found(self, patients: int) -> None:
        """So many patients were found, which are to be stored."""

    def stored(self, records: int = 1) -> None:
        """So many more records were stored."""

    def failed(self, error: ErrorClass = "other", records: int = 1) -> None:
        """So many more records could not be stored, which does not end the run."""

    def deleted(self, patients: int) -> None:
        """So many patients were deleted."""

    def skip(self) -> None:
        """There was nothing to do; the run ends as skipped."""

    def fail(self, error: ErrorClass) -> None:
        """The run ends as failed, though no exception leaves the block."""

    def __enter__(self) -> Self:
        """Write the row."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Complete it, or fail it where an exception leaves the block."""

    async def __aenter__(self) -> Self:
        """Write the row, beside the event loop."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Complete or fail it, beside the event loop."""
