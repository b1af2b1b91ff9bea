"""Alerts that the application raises: each is stored, some are shown on the desktop as well.

Whoever raises one only puts it into a queue. A thread decides which of them are shown, has them shown one after the
other, and then hands each to the store, with the channels that have really taken it.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from rounds.emr.app import notification
from rounds.emr.app.batch import Alert
from rounds.emr.app.scrubbing import Scrubber
from rounds.emr.names import SEVERITIES, label

#: How many notifications are shown in an hour, besides critical ones.
PER_HOUR = 10
#: Seconds for which the same alert is not shown again.
QUIET = 3600.0
#: Alerts that wait for the thread; what comes beyond them is stored without being shown.
WAITING = 1000
#: Seconds that an alert waits to be shown, while those before it are. It must get into the store.
PATIENCE = 10.0
_HOUR = 3600.0
_KEYS = 1000

Show = Callable[[str, str, str], bool]


@dataclass(frozen=True)
class _Raised:
    """An alert as it was raised. ``key`` is as given: it tells alerts apart, and is not stored."""

    alert: Alert
    key: str
    title: object
    message: object
    until: float


class Alerts:
    """Takes alerts.

    Args:
        app: the application's name, for notifications.
        scrub: whether titles and messages may be stored.
        store: takes what is to be stored. Called by any thread.
        least: the least severity that is shown; None shows nothing.
        show: shows severity, title and message; whether it was taken.
        clock: seconds since 1970.
        monotonic: seconds that never go back.
    """

    def __init__(
        self,
        app: str,
        scrub: Scrubber,
        store: Callable[[Alert], object],
        *,
        least: str | None = "error",
        show: Show | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scrub = scrub
        self._store = store
        self._shown = frozenset() if least is None else frozenset(SEVERITIES[: SEVERITIES.index(least) + 1])
        self._show = show or (lambda *said: notification.show(app, *said))
        self._clock = clock
        self._queue: queue.SimpleQueue[_Raised | threading.Event] = queue.SimpleQueue()
        self._monotonic = monotonic
        self._sieve = Sieve(monotonic)
        self._starting = threading.Lock()
        self._thread_of = 0

    def alert(self, severity: object, title: object, message: object = "", *, key: object = "") -> None:
        """Take an alert. What is no severity is an error, a key that is no text is none; the rest may be anything."""
        severity = severity.lower() if isinstance(severity, str) else ""
        severity = severity if severity in SEVERITIES else "error"
        key = key if isinstance(key, str) else ""
        said = self._scrub.message(title), self._scrub.message(message)
        alert = Alert(self._clock(), severity, label(key) if key else "", (), said[0], said[1] or None)
        if severity not in self._shown or self._queue.qsize() >= WAITING or not self._runs():
            self._store(alert)
            return
        self._queue.put(_Raised(alert, key, title, message, self._monotonic() + PATIENCE))

    def settle(self, timeout: float) -> bool:
        """Wait until what was raised so far is handed to the store, at most so many seconds; whether it was."""
        if self._thread_of != os.getpid():
            return True
        done = threading.Event()
        self._queue.put(done)
        return done.wait(timeout)

    def abandon(self) -> None:
        """Hand what still waits to the store, without having it shown."""
        while self._thread_of == os.getpid():
            try:
                raised = self._queue.get_nowait()
            except queue.Empty:
                return
            if isinstance(raised, _Raised):
                self._store(raised.alert)
            else:
                raised.set()

    def _runs(self) -> bool:
        """Have the thread run, of this process and not of the one that it was forked from."""
        if self._thread_of == os.getpid():
            return True
        # A signal handler that raises an alert meanwhile must not wait for what it interrupts.
        if not self._starting.acquire(blocking=False):
            return False
        try:
            if self._thread_of != os.getpid():
                self._queue = queue.SimpleQueue()
                threading.Thread(target=self._run, name="rounds-emr-alerts", daemon=True).start()
                self._thread_of = os.getpid()
        except RuntimeError:  # The interpreter ends.
            return False
        finally:
            self._starting.release()
        return True

    def _run(self) -> None:
        waiting = self._queue
        while True:
            raised = waiting.get()
            if isinstance(raised, threading.Event):
                raised.set()
                continue
            self._store(self._seen_to(raised))

    def _seen_to(self, raised: _Raised) -> Alert:
        """The alert with the channels that have taken it."""
        alert = raised.alert
        try:
            if self._monotonic() > raised.until or not self._sieve.passes(alert.severity, raised.key):
                return alert
            if not self._show(alert.severity, str(raised.title), str(raised.message)):
                return alert
        except Exception:  # It was shown nowhere.
            return alert
        self._sieve.shown(alert.severity, raised.key)
        return replace(alert, channels=("notification",))


class Sieve:
    """Which notifications would be too many. Used by one thread."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._last: dict[tuple[str, str], float] = {}
        self._times: deque[float] = deque(maxlen=PER_HOUR)

    def passes(self, severity: str, key: str) -> bool:
        """Whether it may be shown now. Critical ones always, but for what was shown already."""
        now = self._monotonic()
        if key and now - self._last.get((severity, key), -QUIET) < QUIET:
            return False
        full = len(self._times) == PER_HOUR and now - self._times[0] < _HOUR
        return severity == "critical" or not full

    def shown(self, severity: str, key: str) -> None:
        """It was shown: what was only tried keeps nothing else back."""
        now = self._monotonic()
        if severity != "critical":
            self._times.append(now)
        if key:
            self._last.pop((severity, key), None)
            self._last[severity, key] = now
            while len(self._last) > _KEYS:
                del self._last[next(iter(self._last))]
