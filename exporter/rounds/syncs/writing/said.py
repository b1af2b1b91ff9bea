"""What a run has said of itself so far, and what the log gets of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rounds.syncs.states import WRITER, ErrorClass, Step
from rounds.syncs.steps import progress

#: What an INTEGER holds, in databases that refuse more.
_MOST = 2**31 - 1


@dataclass
class Said:
    """What a run has said. Counts are of this run alone.

    Attributes:
        status: as the log has it.
        error: why it failed.
        started: when it began, aware.
        ended: when it ended, aware.
        step: where it is.
        page: the page that was fetched last.
        pages: how many there are.
        loaded: patients on the pages so far.
        found: patients that are to be stored.
        stored: records that were.
        failures: records that were not, by why.
        deleted: patients that were.
    """

    organization: str | int
    operation: str
    source_system: str
    started: datetime
    status: str = "running"
    error: ErrorClass | None = None
    ended: datetime | None = None
    step: Step = "initializing"
    page: int | None = None
    pages: int | None = None
    loaded: int | None = None
    found: int | None = None
    stored: int = 0
    failures: dict[ErrorClass, int] = field(default_factory=dict)
    deleted: int | None = None
    _furthest: float = 0.0

    @property
    def failed(self) -> int:
        """Records that could not be stored."""
        return sum(self.failures.values())

    @property
    def processed(self) -> int:
        """Records that it is through with."""
        return self.stored + self.failed

    def row(self, now: datetime) -> dict[str, Any]:
        """By the names of the log's columns, with Python's own types.

        Args:
            now: aware.
        """
        errors = self._errors()
        return {
            "organization_id": self.organization,
            "source_system": self.source_system,
            "operation_type": self.operation,
            "status": self.status,
            "records_processed": min(self.processed, _MOST),
            "records_success": min(self.stored, _MOST),
            "records_failed": min(self.failed, _MOST),
            "error_details": {"errors": errors} if errors else {},
            "started_at": self.started,
            "completed_at": self.ended,
            "updated_at": now,
            "metadata": self._metadata(now),
        }

    def _metadata(self, now: datetime) -> dict[str, Any]:
        processed = self.processed
        known: Mapping[str, Any] = {
            "current_page": self.page,
            "total_pages": self.pages,
            "patients_loaded": self.loaded,
            "patients_found": self.found,
            "total_patients": self.found,
            "patients_processed": processed,
            "patients_stored": self.stored,
            "patients_deleted": self.deleted,
            "error_type": self.error,
            "success_rate": round(100 * self.stored / processed, 2) if self.ended and processed else None,
        }
        return {
            "writer": WRITER,
            "sync_type": self.operation,
            "step": self.step,
            "progress_percent": round(self._percent(), 2),
            "timestamp": now.isoformat(),
            **{name: value for name, value in known.items() if value is not None},
            "errors": self._errors(),
        }

    def _errors(self) -> list[dict[str, Any]]:
        """At most one for each class, so that the row stays small whatever happens."""
        return [{"error_type": error, "count": count} for error, count in self.failures.items()]

    def _percent(self) -> float:
        """How far the run is; never less than before."""
        if self.step == "fetching_patients":
            reached = progress(self.step, self.page, self.pages)
        else:
            reached = progress(self.step, self.processed if self.step == "storing_patients" else None, self.found)
        self._furthest = max(self._furthest, 100 * (reached or 0.0))
        return self._furthest
