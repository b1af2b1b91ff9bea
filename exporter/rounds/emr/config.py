"""The section ``emr``: which applications are watched, by their stores and by checks of what they need."""

from __future__ import annotations

from typing import Annotated, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from rounds.emr.names import GAUGES
from rounds.fields import Duration, FilePath, HttpUrl, Integer, Model, Name, SourceName, TimeZone, distinct, problem

Text = Annotated[str, Field(min_length=1, max_length=100)]
Ratio = Annotated[float, Field(gt=0, le=1)]
Bytes = Annotated[Integer, Field(ge=0)]

#: 1024³ bytes, as the existing program counts.
GIBIBYTE = 1024**3


class _Names(Model):
    only: list[Text] | None = None
    """Exactly these names have series of their own; others are counted as ``_other``."""
    max: Annotated[Integer, Field(ge=0, le=500)] = 50
    """Without a list: so many, the first that are seen."""


class Names(_Names):
    """Which names, given by the application's code, have series of their own. All others are counted as ``_other``."""


class Operations(_Names):
    """Which operations have series of their own, and from when on they are slow."""

    slow_after: Duration = 1
    """An operation that takes longer is slow. So the slow ones of an existing ``monitoring.db`` are counted; in the
    library's store the application has counted them, by thresholds of its own."""
    slow: dict[Text, Duration] = {}
    """The same for single operations, such as ``{llm_response: 30s}``. Both are exported as
    ``rounds_emr_operation_slow_threshold_seconds``, which alert rules compare with."""


class _Check(Model):
    interval: Duration = 30
    """From the start of one run to the start of the next."""
    timeout: Duration = 5
    """Longest time that a run may take."""


class DatabaseCheck(_Check):
    """A SQLite database of the application: whether it can be opened and read, quickly, and is sound."""

    path: FilePath
    """A SQLite file of the application."""
    slow_after: Duration = 1
    """An answer that takes longer is degraded."""
    integrity_every: Duration = 86_400
    """From one look at all its pages to the next."""
    integrity_timeout: Duration = 60
    """Longest time that such a look may take."""


class LlmCheck(_Check):
    """A language model behind Ollama's HTTP API."""

    url: HttpUrl = "http://localhost:11434"
    """A server with Ollama's API."""
    model: Text | None = None
    """The model that must be there, exactly, such as ``qwen2.5:7b``; not asked about when absent."""
    generate_every: Duration | None = None
    """Also let the model say one word this often; never when absent. It finds a server that answers and does not
    generate, and loads the model into memory."""
    generate_timeout: Duration = 60
    """Longest time that this may take."""

    @model_validator(mode="after")
    def _generates_with_a_model(self) -> Self:
        if self.generate_every is not None and self.model is None:
            raise problem("needs model", "generate_every")
        return self


class DiskCheck(_Check):
    """The disk that the application writes to."""

    path: FilePath
    """A folder on it."""
    unhealthy_free_bytes: Bytes = GIBIBYTE
    """With less that is free it is unhealthy."""
    degraded_free_bytes: Bytes = 5 * GIBIBYTE
    """With less that is free it is degraded."""
    degraded_used_ratio: Ratio = 0.9
    """So it is with more in use."""


class MemoryCheck(_Check):
    """The computer's memory."""

    unhealthy_available_bytes: Bytes = GIBIBYTE // 2
    """With less that programs can still get it is unhealthy."""
    degraded_available_bytes: Bytes = 2 * GIBIBYTE
    """With less that programs can still get it is degraded."""
    degraded_used_ratio: Ratio = 0.9
    """So it is with more in use; the health score uses it too."""


class BackupCheck(_Check):
    """The newest backup: of the files in a folder, by their manifests, or by a table of backups in SQLite."""

    name: Name = "backup"
    """The label ``backup``; to be given where there are several."""
    folder: FilePath | None = None
    """A folder with files or folders of backups; this or ``table``."""
    pattern: Text = "backup_*"
    """Which of them: a shell's pattern. A time in the name (``2026-01-31_18-00-00``) or a manifest's ``created_at``
    is the backup's, else the file's own."""
    table: FilePath | None = None
    """A SQLite file with the table ``backups (timestamp, status, size_bytes)``."""
    status: Text = "completed"
    """The status that a good backup has there."""
    time_zone: TimeZone | None = None
    """The zone of times in names, manifests and the table; the application's when absent."""
    max_age: Duration = 86_400
    """An older one is degraded."""
    interval: Duration = 300
    """From the start of one run to the start of the next."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.folder is None) is (self.table is None):
            raise problem("needs one of folder and table")
        return self


#: One or several, told apart before they are read, so that a mistake in one is told once.
BackupChecks = Annotated[
    Annotated[list[BackupCheck], Tag("several")] | Annotated[BackupCheck, Tag("one")],
    Discriminator(lambda value: "several" if isinstance(value, list) else "one"),
]


class Checks(Model):
    """Checks of what the application needs; those that are absent are not made."""

    database: DatabaseCheck | None = None
    """A SQLite database of the application."""
    llm: LlmCheck | None = None
    """A language model."""
    disk: DiskCheck | None = None
    """The disk that the application writes to."""
    memory: MemoryCheck | None = None
    """The computer's memory; ``{}`` takes the defaults."""
    backup: BackupChecks | None = None
    """The newest backup, or a list of such checks, each with a name."""

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Self:
        distinct(self.backups, "backup")
        return self

    @property
    def backups(self) -> list[BackupCheck]:
        """All of them."""
        if self.backup is None:
            return []
        return self.backup if isinstance(self.backup, list) else [self.backup]


class Score(Model):
    """What is taken from 100 points. For people to look at; no rule uses it."""

    unhealthy: Annotated[Integer, Field(ge=0, le=100)] = 50
    """Points that are taken where the worst check is unhealthy."""
    degraded: Annotated[Integer, Field(ge=0, le=100)] = 20
    """Instead, where it is degraded."""
    errors: Annotated[Integer, Field(ge=0, le=100)] = 10
    """With more errors than ``errors_per_hour``, on the average of 24 hours."""
    slow_operations: Annotated[Integer, Field(ge=0, le=100)] = 10
    """With more slow operations than ``slow_per_hour`` in the last hour."""
    memory: Annotated[Integer, Field(ge=0, le=100)] = 10
    """With more of the memory in use than the memory check's ``degraded_used_ratio``."""
    errors_per_hour: Annotated[float, Field(ge=0)] = 1
    """As many errors an hour are no reason yet."""
    slow_per_hour: Annotated[Integer, Field(ge=0)] = 10
    """As many slow operations are no reason yet."""


class App(Model):
    """An application that is watched."""

    name: Name
    """What it is called in metrics and messages: the label ``app``. Its collector and its job are ``emr/NAME``, the job
    of its checks is ``emr/NAME/health``."""
    source: Annotated[str, SourceName("sqlite")]
    """Its store: the library's file, an existing ``monitoring.db``, or one file with both."""
    time_zone: TimeZone | None = None
    """The zone of times in an existing ``monitoring.db``, such as ``Asia/Kolkata``. Without it the zone is found from
    each row's ``created_at``."""
    interval: Duration = 15
    """From the start of one look at the store to the start of the next."""
    timeout: Duration = 10
    """Longest time that a look, and a statement of it, may take."""
    integrity_every: Duration = 86_400
    """From one look at all pages of the store to the next."""
    operations: Operations = Operations()
    """Operations that become labels, and from when on they are slow."""
    events: Names = Names()
    """Events that become labels, such as ``patients_created``."""
    error_types: Names = Names()
    """Kinds of exceptions that become labels."""
    gauges: list[Text] = list(GAUGES)
    """Gauges of the application that are exported."""
    checks: Checks = Checks()
    """Checks of what the application needs."""
    score: Score = Score()
    """What the health score is made of."""

    @property
    def zone(self) -> ZoneInfo | None:
        """The zone of an existing store's times, None where rows must tell it."""
        return None if self.time_zone is None else ZoneInfo(self.time_zone)


EmrSection = Annotated[list[App], AfterValidator(distinct)]
