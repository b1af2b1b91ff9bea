"""The monitoring tables of a proposal pipeline: what they say, and what the pipeline writes into them.

The functions that write are here for the pipeline's own program; neither the exporter nor its drivers come along.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rounds.apr.writing.cleaning import cleanup_old_monitoring_data
    from rounds.apr.writing.failures import WriteFailed
    from rounds.apr.writing.history import track_status_changes
    from rounds.apr.writing.invalid import log_invalid_records
    from rounds.apr.writing.products import track_proposal_products
    from rounds.apr.writing.resolving import auto_resolve_invalid_records
    from rounds.apr.writing.runs import Run, log_program_execution, track_run
    from rounds.apr.writing.summary import update_daily_summary

#: What is imported when it is asked for, so that the exporter does not load what only programs need.
_MODULES = {
    "Run": "runs",
    "WriteFailed": "failures",
    "auto_resolve_invalid_records": "resolving",
    "cleanup_old_monitoring_data": "cleaning",
    "log_invalid_records": "invalid",
    "log_program_execution": "runs",
    "track_proposal_products": "products",
    "track_run": "runs",
    "track_status_changes": "history",
    "update_daily_summary": "summary",
}

__all__ = [
    "Run",
    "WriteFailed",
    "auto_resolve_invalid_records",
    "cleanup_old_monitoring_data",
    "log_invalid_records",
    "log_program_execution",
    "track_proposal_products",
    "track_run",
    "track_status_changes",
    "update_daily_summary",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"rounds.apr.writing.{_MODULES[name]}"), name)
