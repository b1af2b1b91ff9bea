"""What holds now: gauges, from the store as it is and from what is known of it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Generic, TypeVar

from rounds.emr import metrics
from rounds.emr.config import App
from rounds.emr.findings import Findings, slow_after
from rounds.emr.knowledge import Look
from rounds.emr.labels import Labels
from rounds.emr.moments import utc
from rounds.emr.names import CRASHES, OTHER, SEVERITIES
from rounds.emr.names import label as named
from rounds.emr.reading import Store, text
from rounds.emr.windows import Windows, windows
from rounds.errors import CollectorError
from rounds.metrics import Family, Metric

#: Seconds since its last sign of life for which a process is taken to run.
ALIVE = 60
#: Seconds for which gauges hold since anything was measured at all: an application that was closed has none.
HOLD = 3600
#: A costly answer is kept for so many times as long as it took, so that it takes a hundredth of the time at most.
_SHARE = 100
#: What versions look like, of the application, of Python and of the operating system; anything else may be any text.
_VERSIONS = tuple(re.compile(f"{digit}[\\w.+~ ()/-]{{1,64}}", re.ASCII) for digit in (r"(?=.*\d)", r"(?=.*\d)", ""))

Answer = TypeVar("Answer")


class Sparing(Generic[Answer]):
    """Asks a question as often as its answer is cheap."""

    def __init__(self) -> None:
        self._answer: Answer | None = None
        self._again = float("-inf")

    def ask(self, question: Callable[[], Answer]) -> Answer:
        """The answer, perhaps as it was a while ago."""
        began = time.monotonic()
        if self._answer is None or began >= self._again:
            self._answer = question()
            ended = time.monotonic()
            self._again = ended + _SHARE * (ended - began)
        return self._answer

    def forget(self) -> None:
        """Ask at the next occasion."""
        self._again = float("-inf")


class Gauges:
    """Gauges of one application, look after look.

    Args:
        app: the configuration.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._windows: Sparing[Windows] = Sparing()
        self._rows: dict[str, Sparing[int]] = {}
        #: What happened lately, as of the last look.
        self.lately = Windows()
        #: Processes that run.
        self.running: int | None = None

    def families(self, store: Store, findings: Findings, *, failed: Iterable[str]) -> Iterator[Family]:
        """All that the store is asked for.

        Args:
            store: the store.
            findings: what the look has found.
            failed: tables that could not be read.

        Raises:
            CollectorError: the store failed.
        """
        broken = set(failed)
        now, zone = findings.now, self._app.zone
        asked = self._try(lambda: self._windows.ask(lambda: windows(store, self._app, zone, now)))
        if asked is not None:
            self.lately = asked
            yield self._one(metrics.GROUPS, asked.groups)
        yield from self._try(lambda: list(self._processes(store, now))) or ()
        yield self._gauges(store, findings)
        yield self._one(metrics.UNSUBMITTED, self._try(lambda: _unsubmitted(store)))
        yield metrics.STORE_ROWS.family(
            ((self._app.name, table), self._try(lambda table=table: self._count(store, table)))  # type: ignore[misc]
            for table in sorted(set(store.layout.columns) - broken)
        )
        yield from self._file(store)

    def noticed(self, findings: Findings) -> Iterator[Family]:
        """When something happened last."""
        for metric, labels in ((metrics.LAST_ALERT, SEVERITIES), (metrics.LAST_CRASH, CRASHES)):
            yield metric.family(((self._app.name, label), findings.noticed(metric, label)) for label in labels)
        yield self._one(metrics.LAST_NEW_GROUP, findings.noticed(metrics.LAST_NEW_GROUP))

    def integrity(self, look: Look) -> Iterator[Family]:
        """What the last look at all pages found."""
        yield self._one(metrics.INTEGRITY_OK, None if look.integrity_ok is None else int(look.integrity_ok))
        yield self._one(metrics.INTEGRITY_CHECKED, look.integrity_at)

    def _one(self, metric: Metric, value: float | None) -> Family:
        return metric.family([((self._app.name,), value)])

    def _try(self, ask: Callable[[], Answer]) -> Answer | None:
        """An answer, None where a part of the file that it needs is damaged."""
        try:
            return ask()
        except CollectorError as error:
            if error.reason != "query":
                raise
            return None

    # --- processes ------------------------------------------------------------------------------------------------

    def _processes(self, store: Store, now: float) -> Iterator[Family]:
        self.running = None
        if "rounds_run" not in store.layout.own:
            return
        since = now - ALIVE
        sql = "SELECT count(*), sum(resident_bytes) FROM rounds_run WHERE ended IS NULL AND heartbeat >= ?"
        ((running, resident),) = store.all(sql, since)
        self.running = running
        yield self._one(metrics.RUNNING, running)
        yield self._one(metrics.RESIDENT, resident)
        newest = store.all("SELECT version, python, os, started FROM rounds_run ORDER BY id DESC LIMIT 1")
        for *about, started in newest:
            yield metrics.INFO.family([((self._app.name, *map(_version, about, _VERSIONS)), 1)])
            yield self._one(metrics.START, started)
            ((heartbeat,),) = store.all("SELECT max(heartbeat) FROM rounds_run")
            yield self._one(metrics.HEARTBEAT, heartbeat)

    def _gauges(self, store: Store, findings: Findings) -> Family:
        """Gauges of both, where there are two of a name the library's."""
        found: dict[str, float] = {}
        allowed = {name for name in self._app.gauges if named(name) == name}
        if "metrics" in store.layout.existing and self._is_measuring(store, findings.now):
            found = {name: value for (name,), (value, _) in findings.known.gauges.items.items()}
        if "rounds_gauge" in store.layout.own and self._is_alive(store):
            found |= {
                str(name): value
                for name, value in store.all("SELECT name, value FROM rounds_gauge")
                if isinstance(value, int | float)
            }
        return metrics.GAUGE.family(((self._app.name, name), found.get(name)) for name in sorted(allowed))

    def _is_alive(self, store: Store) -> bool:
        """Whether a process of the application runs, as far as the store has processes."""
        return "rounds_run" not in store.layout.own or bool(self.running)

    def _is_measuring(self, store: Store, now: float) -> bool:
        """Whether the existing program has written a metric lately; it does so in groups, and has no sign of life."""
        if not store.layout.has("metrics", "created_at"):
            return True
        rows = store.all("SELECT CAST(created_at AS BLOB) FROM metrics ORDER BY id DESC LIMIT 1")
        written = utc(text(rows[0][0])) if rows else None
        return written is not None and written >= now - HOLD

    # --- the file -------------------------------------------------------------------------------------------------

    def _count(self, store: Store, table: str) -> int:
        counted = self._rows.setdefault(table, Sparing())
        return counted.ask(lambda: int(store.all(f"SELECT count(*) FROM {table}")[0][0]))

    def _file(self, store: Store) -> Iterator[Family]:
        for metric, suffix in ((metrics.STORE_BYTES, ""), (metrics.STORE_WAL_BYTES, "-wal")):
            size = 0
            with suppress(OSError):
                size = store.path.with_name(store.path.name + suffix).stat().st_size
            yield self._one(metric, size)


def thresholds(app: App, labels: Labels) -> Family:
    """What is configured for operations that have series."""
    return metrics.SLOW_THRESHOLD.family(
        ((app.name, name), slow_after(app, name)) for name in (*labels.exported("operation"), OTHER)
    )


def _unsubmitted(store: Store) -> int:
    found = 0
    if store.layout.has("crash_reports", "submitted"):
        found += store.all("SELECT count(*) FROM crash_reports WHERE submitted = 0")[0][0]
    if "rounds_crash" in store.layout.own:
        found += store.all("SELECT count(*) FROM rounds_crash WHERE submitted = 0 AND report <> ''")[0][0]
    return found


def _version(value: object, pattern: re.Pattern[str]) -> str:
    if value in (None, ""):
        return ""
    return str(value) if pattern.fullmatch(str(value)) else OTHER


def schema_problems(app: App, problems: Iterable[str]) -> Family:
    """What the store lacks."""
    return metrics.SCHEMA_PROBLEM.family(((app.name, problem), 1) for problem in sorted(problems))
