"""What becomes of what the hooks notice: errors and crashes in the store, reports beside it, messages to elsewhere."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeAlias

from rounds.emr.app import crashes, sentry, spool
from rounds.emr.app.alerting import Alerts
from rounds.emr.app.batch import Group, dropped
from rounds.emr.app.crashes import Actions, Report
from rounds.emr.app.errors import Portrait, Portraits, look, type_name
from rounds.emr.app.fatal import FatalFile, Signalled
from rounds.emr.app.rows import add_counter
from rounds.emr.app.runs import Dead, Fatal
from rounds.emr.app.scrubbing import Scrubber
from rounds.emr.app.sending import Sender, Target, allowed
from rounds.emr.app.store import Store
from rounds.emr.app.writer import Writer
from rounds.emr.names import OTHER

#: Seconds that the end of a process waits for the store.
PATIENCE = 2.0
#: Seconds before a report of it is written.
_LAST_MOMENT = 0.25
#: Seconds after which what could not be entered is tried again.
_AGAIN = 60.0
#: Seconds after which what was noted for Sentry goes into the spool.
_SOON = 1.0
#: Causes of an exception that a report names.
_CAUSES = 5
#: Errors of a group are sent to Sentry once in this time, and so many groups in an hour.
_SENTRY_AGAIN = 86_400.0
_SENTRY_PER_HOUR = 60
_HOUR = 3600.0

_CRASH = """
INSERT OR IGNORE INTO rounds_crash (id, at, kind, error_type, fingerprint, report) VALUES (?, ?, ?, ?, ?, ?)"""

#: What waits for the spool: its kind, the id of the crash that it is about or "", and what is sent.
Message: TypeAlias = tuple[str, str, bytes]

_logger = logging.getLogger("rounds.emr")


class Capture(Protocol):
    """Records an error."""

    def __call__(self, error: BaseException, *, source: str) -> object:
        """Source is one of :data:`rounds.emr.names.SOURCES`."""


class Lookout:
    """Told by the hooks, and by runs that end without a word.

    Args:
        store: the store's file; reports are in ``crash_reports`` beside it. None for neither.
        app: the application's name.
        version: its version.
        scrub: whether messages may be written down.
        portraits: makes fingerprints and traces.
        alerts: what still waits there is stored before the process ends.
        report_url: where reports of crashes are sent to, ``CRASH_REPORT_URL`` where it is None.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        store: Path | None,
        app: str,
        version: str,
        *,
        scrub: Scrubber,
        portraits: Portraits,
        alerts: Alerts,
        report_url: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.actions = Actions(clock)
        self.folder = None if store is None else crashes.Folder(store.parent / "crash_reports")
        self.crashed = False
        self._scrub = scrub
        self._portraits = portraits
        self._alerts = alerts
        self._about = crashes.about_process(app, version)
        self._clock = clock
        self._writer: Writer | None = None
        self._capture: Capture | None = None
        self._dsn = None if store is None else sentry.configured()
        self._offered: dict[str, float] = {}
        self._hour: deque[float] = deque(maxlen=_SENTRY_PER_HOUR)
        self._waiting: deque[Message] = deque()
        self._lost = 0
        self._examined: dict[int, Fatal] = {}
        self._targets = [] if store is None else self._find_targets(report_url)
        self._sender = Sender(spool.Spool(store), self._targets) if store is not None and self._targets else None

    def attach(self, writer: Writer, capture: Capture) -> None:
        """Begin, with what earlier processes have left. The writer runs already."""
        self._writer, self._capture = writer, capture
        if self.folder is not None:
            writer.every(_AGAIN, self._enter_all)
            writer.call(self._enter_all, 0.0)
        if self._sender is not None:
            writer.every(_SOON, self.send)
            with suppress(RuntimeError):
                self._sender.start()

    def fatal_file(self, started: float) -> FatalFile | None:
        """What faulthandler writes to in this process, which began then as its run says."""
        return None if self.folder is None else FatalFile(self.folder.path, os.getpid(), started, self._about)

    def last_words(self, timeout: float) -> None:
        """Put into the spool what is to be sent, at most for so many seconds."""
        if self._writer is not None and self._sender is not None:
            self._writer.call(self.send, timeout)

    def settle(self, timeout: float) -> None:
        """After a crash, wait for its report to be sent: the next start may be far. At most so many seconds."""
        if self._sender is not None and self.crashed:
            self._sender.settle(timeout)

    def stop(self) -> None:
        """Send nothing more."""
        if self._sender is not None:
            self._sender.stop()

    # What the hooks tell.

    def error(self, error: BaseException, source: str) -> None:
        """An exception that nobody caught."""
        if self._capture is not None:
            self._capture(error, source=source)

    def crash(self, error: BaseException) -> None:
        """An exception that ends the process. It is on the disk when this returns, or as soon as that can be."""
        if self._writer is not None:
            # Operations of the last moment are among the recent actions.
            self._writer.flush(_LAST_MOMENT)
        try:
            made = self._report(error)
        except Exception:
            # An exception may be as odd as it likes, and memory scarce: better a little than nothing.
            little = Portrait("0" * 16, type_name(type(error)), OTHER, "")
            made = crashes.report(self._clock(), "python", little, self._about, pid=os.getpid())
        # Sentry gets it as what ended the process.
        self._offered[made.fingerprint] = time.monotonic()
        self.error(error, "main")
        writer = self._writer
        if writer is None:
            return
        self._alerts.abandon()
        kept = self._keep(made)

        def end(store: Store) -> None:
            self._enter(store, made, made.name if kept else "")
            writer.run.end("python")

        writer.call(end, PATIENCE)
        self.crashed = True

    def _report(self, error: BaseException) -> Report:
        return crashes.report(
            self._clock(),
            "python",
            self._portrait(error),
            self._about,
            causes=[self._portrait(each) for each in _causes(error)],
            message=self._scrub.message(error),
            actions=self.actions.listed(),
            folder=None if self.folder is None else self.folder.path.parent,
            pid=os.getpid(),
        )

    def _keep(self, made: Report) -> bool:
        """Whether it is on the disk now."""
        if self.folder is None:
            return False
        try:
            self.folder.add(made)
        except OSError as problem:
            _logger.warning("a report of a crash could not be written: %s", type(problem).__name__)
            return False
        return True

    def terminated(self) -> None:
        """SIGTERM is about to end the process."""
        writer = self._writer
        if writer is not None:
            self._alerts.abandon()

            def end(store: Store) -> None:
                writer.run.end("sigterm")
                self.send(store)

            writer.call(end, PATIENCE)

    def resumed(self) -> None:
        """It did not."""
        writer = self._writer
        if writer is not None:
            writer.call(lambda _: writer.run.resume(), 0.0)

    # What the writer's thread asks.

    def examine(self, dead: Dead) -> Fatal | None:
        """What is known of a process that did not say how it ended."""
        if self.folder is None:
            return None
        if dead.id in self._examined:
            return self._examined[dead.id]  # The store has not taken it then, and asks again.
        file = FatalFile(self.folder.path, dead.pid, dead.started)
        signalled = file.read()
        if signalled is None:
            file.remove()
            return None
        made = crashes.report(signalled.at, "fatal_signal", _portrait_of(signalled), signalled.about, pid=dead.pid)
        name = ""
        if self._keep(made):
            # The store gets its row from who asks, in one transaction with the run's.
            self.folder.known(made)
            name = made.name
        self._wait(self._messages(made, f"run-{dead.id}"))
        file.remove()
        self._examined[dead.id] = Fatal(signalled.error_type, name, signalled.fingerprint)
        return self._examined[dead.id]

    def offer(self, groups: Mapping[str, Group]) -> None:
        """Errors that were seen: those that are new in a while go to Sentry."""
        dsn = self._dsn
        if dsn is None:
            return
        now = time.monotonic()
        for fingerprint, group in groups.items():
            full = len(self._hour) == _SENTRY_PER_HOUR and now - self._hour[0] < _HOUR
            if full or now - self._offered.get(fingerprint, -_SENTRY_AGAIN) < _SENTRY_AGAIN:
                continue
            while len(self._offered) >= spool.ROWS_MAX:
                del self._offered[next(iter(self._offered))]
            self._offered[fingerprint] = now
            self._hour.append(now)
            trace = group.trace.splitlines()
            self._wait([("sentry", "", self._event(group.last, group.error_type, fingerprint, trace, "error"))])

    def send(self, store: Store) -> None:
        """Put what is to be sent into the spool.

        Raises:
            StoreUnavailable: it waits.
        """
        messages, lost = list(self._waiting), self._lost
        if messages:

            def work(connection: sqlite3.Connection) -> None:
                self._spool(connection, messages)
                if lost:
                    add_counter(connection, *dropped("size"), lost)

            store.transaction(work)
            self._waiting.clear()
            self._lost = 0
            if self._sender is not None:
                self._sender.kick()

    def _enter_all(self, store: Store) -> None:
        if self.folder is not None:
            for made in self.folder.unknown():
                self._enter(store, made, made.name)
            self.folder.prune()
        self.send(store)
        if self._sender is None:
            # Nobody sends any more what an earlier process left, nor looks how old it is.
            store.transaction(lambda connection: spool.trim(connection, self._clock()))

    def _enter(self, store: Store, made: Report, file: str) -> None:
        def work(connection: sqlite3.Connection) -> None:
            row = (made.id, made.at, made.kind, made.error_type, made.fingerprint, file)
            if connection.execute(_CRASH, row).rowcount:
                add_counter(connection, "crashes_total", (made.kind,), 1)
                self._spool(connection, self._messages(made, made.id))

        store.transaction(work, durable=True)
        if self.folder is not None:
            self.folder.known(made)
        if self._sender is not None:
            self._sender.kick()

    def _wait(self, messages: list[Message]) -> None:
        self._waiting.extend(messages)
        while len(self._waiting) > spool.ROWS_MAX:
            self._waiting.popleft()
            self._lost += 1

    def _spool(self, connection: sqlite3.Connection, messages: list[Message]) -> None:
        for kind, crash, body in messages:
            spool.add(connection, self._clock(), kind, crash, body)

    def _messages(self, made: Report, crash: str) -> list[Message]:
        """What is sent of a crash."""
        found = [("crash", crash, made.body) for target in self._targets if target.kind == "crash"]
        if self._dsn is not None:
            # The error itself was offered as well; this says that it ended the process.
            event = self._event(made.at, made.error_type, made.fingerprint, made.trace, "fatal")
            found.append(("sentry", "", event))
        return found

    def _event(self, at: float, error_type: str, fingerprint: str, trace: list[str], level: str) -> bytes:
        return sentry.envelope(
            sentry.Event(
                at,
                error_type,
                fingerprint,
                trace,
                level,
                release=f"{self._about['app']}@{self._about['app_version']}",
                environment=os.environ.get("ENVIRONMENT", "production"),
                os=self._about["os"],
                python=self._about["python"],
            )
        )

    def _portrait(self, error: BaseException) -> Portrait:
        return self._portraits.of(look(error, error.__traceback__))

    def _find_targets(self, report_url: str | None) -> list[Target]:
        url = os.environ.get("CRASH_REPORT_URL", "") if report_url is None else report_url
        targets = []
        if url and allowed(url):
            targets.append(Target("crash", url))
        elif url:
            _logger.warning("reports of crashes are not sent: their address is neither https nor on this computer")
        if self._dsn is not None:
            targets.append(sentry.target(self._dsn))
        return targets


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    seen = {id(error)}
    while len(found) < _CAUSES:
        cause = error.__cause__
        if cause is None and not error.__suppress_context__:
            cause = error.__context__
        if cause is None or id(cause) in seen:
            break
        seen.add(id(cause))
        found.append(cause)
        error = cause
    return found


def _portrait_of(signalled: Signalled) -> Portrait:
    culprit = signalled.trace[-1].rpartition(":")[0] if signalled.trace else ""
    return Portrait(signalled.fingerprint, signalled.error_type, culprit, "\n".join(signalled.trace))
