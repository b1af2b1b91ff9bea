"""The section ``syncs``: which logs of runs are followed, and how."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, model_validator

from rounds.fields import Duration, Integer, Model, Name, SourceName, TimeZone, distinct, problem
from rounds.syncs.states import OPERATIONS, RUNNING_TOTALS

#: Longest organisation that may be a label.
LONGEST_ORGANIZATION = 128

Text = Annotated[str, Field(min_length=1, max_length=64)]


class Columns(Model):
    """What the columns are called. All but the first four may be missing in the table."""

    id: Text = "id"
    """What tells one run from another: a number, a UUID or a text."""
    started_at: Text = "started_at"
    """When the run began."""
    status: Text = "status"
    """How it stands."""
    operation_type: Text = "operation_type"
    """What is synchronised."""
    organization_id: Text = "organization_id"
    """For whom."""
    completed_at: Text = "completed_at"
    """When it ended."""
    updated_at: Text = "updated_at"
    """When the row was changed last."""
    records_processed: Text = "records_processed"
    """Records that were looked at."""
    records_success: Text = "records_success"
    """Records that were stored."""
    records_failed: Text = "records_failed"
    """Records that were not."""
    error_details: Text = "error_details"
    """What went wrong; only its class leaves the database."""
    metadata: Text = "metadata"
    """A JSON object with step and progress."""
    source_system: Text = "source_system"
    """What the row is about, where several systems share the table."""


class Organizations(Model):
    """Which organisations have series of their own. All others are counted together as ``_other``."""

    only: list[Annotated[str, Field(min_length=1, max_length=LONGEST_ORGANIZATION)]] | None = None
    """Exactly these have series of their own; required where an HTTP API is read, which is asked for each of them."""
    max: Annotated[Integer, Field(ge=0, le=1000)] = 30
    """Without a list: so many, the most recent when they are seen first. A place is free once an organisation has had
    no run for ``look_back``."""
    names: dict[str, Annotated[str, Field(min_length=1, max_length=LONGEST_ORGANIZATION)]] = {}
    """What an organisation is called in metrics and messages, by its id."""

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Self:
        seen: dict[str, str] = {}
        for organization, name in self.names.items():
            if seen.setdefault(name, organization) != organization:
                raise problem(f"is the name of {seen[name]} too", "names", organization)
        return self


class Limits(Model):
    """From when on something is told. All of it is exported, so that rules and dashboards repeat none of it."""

    slow_after: Duration = 1800
    """A run that takes longer is told."""
    stuck_after: Duration = 600
    """A run whose progress does not change for longer is told."""
    deleted_patients: Annotated[Integer, Field(ge=0)] = 50
    """A run that deletes more patients is told."""
    deleted_ratio: Annotated[float, Field(gt=0, le=1)] = 0.1
    """So is one that deletes a larger part of them."""
    found_drop_ratio: Annotated[float, Field(gt=0, le=1)] = 0.2
    """A run that finds fewer patients than the one before, by a larger part, is told."""
    failed_ratio: Annotated[float, Field(gt=0, le=1)] = 0.01
    """A run in which a larger part of the records failed is told."""


class Sync(Model):
    """A log of runs that is followed."""

    name: Name
    """What it is called in metrics and messages: the label ``sync``. Its collector and its job are ``syncs/NAME``."""
    source: Annotated[str, SourceName("postgresql", "mariadb", "sqlite", "http", needs={"http": "api"})]
    """The source that has the log. One of kind ``http`` needs ``api``."""
    table: Text = "sync_logs"
    """The table's name; in PostgreSQL and MariaDB it may have a schema or database before it, in double quotes where it
    has a point of its own."""
    columns: Columns = Columns()
    """What its columns are called, where not by their own names."""
    api: Literal["logs", "status"] | None = None
    """With a source of kind ``http``, and only there: the endpoint that is asked, ``/api/v1/cliniko/sync-logs/ID`` or
    ``/api/v1/cliniko/status/ID``. Needs ``organizations.only``."""
    source_system: str | None = "cliniko"
    """Only rows about this system, where the table has the column; ``null`` for all."""
    organizations: Organizations = Organizations()
    """Organisations that become labels."""
    operations: list[Text] = list(OPERATIONS)
    """Operations that become labels; others are counted together as ``_other``."""
    running_totals: list[Text] = list(RUNNING_TOTALS)
    """Operations whose program writes counts of all its runs together, which are not exported."""
    expect_every: Duration | dict[str, Duration] = 3600
    """Each organisation has a successful run at least this often: of any operation; or of each one that is named, such
    as ``{full_patients: 24h, incremental_sync: 1h}``. Exported as ``rounds_sync_expected_interval_seconds``."""
    stale_after: Duration = 900
    """An active run that says nothing for longer is stale."""
    orphaned_after: Duration = 86_400
    """A run that says nothing for longer is taken for given up, and is not active any more; at least
    ``stale_after``."""
    interval: Duration = 15
    """From the start of one look to the start of the next."""
    active_interval: Duration = 3
    """The same while a run is active; at most ``interval``."""
    timeout: Duration = 10
    """Longest time that a look, and a statement of it, may take."""
    look_back: Annotated[Duration, Field(le=366 * 86_400)] = 30 * 86_400
    """How far back runs are looked for at the first look, and how long organisations and runs without an end are
    remembered; at most 366d."""
    overlap: Annotated[Duration, Field(le=2 * 86_400)] = 4 * 3600
    """Rows are noticed though they begin this long before the newest one that is known: they may be committed late,
    or be written with a clock of another zone. At most 2d."""
    time_zone: TimeZone = "UTC"
    """The zone of times that have none."""
    limits: Limits = Limits()
    """From when on something is told."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.api and not self.organizations.only:
            raise problem("needs organizations.only, the organisations to ask for", "api")
        if self.active_interval > self.interval:
            raise problem("should not be longer than interval", "active_interval")
        if self.orphaned_after < self.stale_after:
            raise problem("should not be shorter than stale_after", "orphaned_after")
        for operation in self.expect_every if isinstance(self.expect_every, dict) else ():
            if operation not in self.operations:
                raise problem("is not among operations", "expect_every", operation)
        return self

    @property
    def zone(self) -> ZoneInfo:
        """The zone of times that have none."""
        return ZoneInfo(self.time_zone)


SyncsSection = Annotated[list[Sync], AfterValidator(distinct)]
