"""What a log of runs is to the rest of the domain, wherever it is kept."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from rounds.syncs.states import Problem

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Glimpse:
    """As much of a row as it takes to tell whether it must be read.

    Attributes:
        id: as text.
        started: Unix seconds, None where the row has no time that makes sense.
        status: as the program writes it, in lower case.
    """

    id: str
    started: float | None
    status: str


@dataclass(frozen=True)
class Record:
    """A row, typed but not interpreted. What made no sense is absent, and named in ``problems``.

    Times are Unix seconds. ``metadata`` and ``details`` are what JSON or a plain text says; nothing of them may reach a
    label, a log or a page but numbers and what is mapped to a closed set.

    Attributes:
        id: as text.
        organization: as text, empty where there is none.
        operation: as text, empty where there is none.
        status: as the program writes it, in lower case.
        started: when it began.
        completed: when it ended, as its program says.
        updated: when the row was changed last.
        processed: records looked at; what a program writes there while it runs means something else.
        succeeded: records stored.
        failed: records that were not.
        metadata: a JSON object; empty where there is none.
        details: errors: a JSON value, a text, or None.
        problems: what made no sense.
    """

    id: str
    organization: str
    operation: str
    status: str
    started: float | None = None
    completed: float | None = None
    updated: float | None = None
    processed: int | None = None
    succeeded: int | None = None
    failed: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=lambda: _NOTHING, repr=False)
    details: Any = field(default=None, repr=False)
    problems: frozenset[Problem] = frozenset()


class Log(ABC):
    """A log, for one look at it. Methods raise CollectorError where the source fails."""

    #: What it lacks, so that something is slow or missing: texts of a closed set, such as ``no column updated_at``.
    problems: frozenset[str] = frozenset()
    #: What to run against some of them, by problem: a statement of the source's own SQL.
    remedies: Mapping[str, str] = MappingProxyType({})

    @abstractmethod
    def now(self) -> float:
        """The source's clock in Unix seconds; this machine's where the source does not tell."""

    @abstractmethod
    def recent(self, since: float, limit: int) -> Iterator[Record]:
        """At most so many rows that began at this time or later, the newest first. For the first look.

        All of them must be taken, here as from :meth:`glimpses`, before something else is asked for.
        """

    @abstractmethod
    def glimpses(self, since: float) -> Iterator[Glimpse]:
        """Rows that began at this time or later, and some that have no time; from the oldest to the newest.

        Conservative: rows that began up to a day earlier may come too.
        """

    @abstractmethod
    def records(self, ids: Sequence[str]) -> Iterable[Record]:
        """The rows with these ids; those that are gone are left out."""
