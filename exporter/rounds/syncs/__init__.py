"""Logs of runs that synchronise patients: what they say, and what a program that syncs writes into them.

``SyncRun`` is here for such a program; neither the exporter nor its drivers come along.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rounds.syncs.writing.run import SyncRun

__all__ = ["SyncRun"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("rounds.syncs.writing.run"), name)
