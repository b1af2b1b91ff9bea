"""The health score: what checks and store found, in one number that explains itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rounds.emr.health.result import Health


@dataclass
class Board:
    """What is known of an application at the moment: filled by its jobs, which run on threads of their own.

    ``results`` are the checks' last ones, by the check's name, replaced as a whole each time.
    """

    results: Mapping[str, Health]
