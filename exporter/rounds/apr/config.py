"""The section ``apr``: the monitoring tables of a proposal pipeline."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import Field

from rounds.fields import Duration, Integer, Model, SourceName, TimeZone

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]


class Labels(Model):
    """Names that become labels, which none are unless asked for: so many of each, the rest is ``_other``. Whoever can
    read metrics can then read these names."""

    cedente: Annotated[Integer, Field(ge=0, le=100)] = 0
    """Names of clients."""
    gerente: Annotated[Integer, Field(ge=0, le=100)] = 0
    """Names of managers."""
    produto: Annotated[Integer, Field(ge=0, le=100)] = 0
    """Names of products."""


class AprSection(Model):
    """The monitoring tables of a proposal pipeline."""

    source: Annotated[str, SourceName("mariadb", "sqlite")]
    """The source that has the tables."""
    interval: Duration = 60
    """From the start of one run to the start of the next."""
    timeout: Duration = 30
    """Longest time that a run, and a statement of it, may take."""
    time_zone: TimeZone = "America/Sao_Paulo"
    """The zone of business dates and working days."""
    run_every: Duration = 86_400
    """On working days the pipeline runs at least this often."""
    slow_run_after: Duration = 300
    """A run of the pipeline that takes longer is slow."""
    open_for: Duration = 86_400
    """An invalid record that is open for longer is told."""
    stuck_after: Duration = 172_800
    """A proposal that keeps a status which is not final for longer is stuck."""
    unconfirmed_after: Duration = 3600
    """Work of the bot that is not confirmed for longer is told."""
    look_back: Annotated[Duration, Field(le=366 * 86_400)] = 30 * 86_400
    """Proposals whose business date lies further back are neither stuck nor unconfirmed; at most 366d."""
    working_days: Annotated[list[Weekday], Field(min_length=1)] = [
        "monday",
        "tuesday",
        "wednesday",
        "thursday",
        "friday",
    ]
    """Days on which the pipeline is expected to run."""
    holidays: list[date] = []
    """Days among them on which it is not."""
    labels: Labels = Labels()
    """Names that become labels: of clients, managers and products."""

    @property
    def zone(self) -> ZoneInfo:
        """The zone of business dates."""
        return ZoneInfo(self.time_zone)
