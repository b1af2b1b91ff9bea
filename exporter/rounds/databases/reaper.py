"""Ends what a session left running in a server, beside whoever gave it up: perhaps an event loop that must not wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

_lock = threading.Lock()
_running: set[threading.Thread] = set()


def later(work: Callable[[], object]) -> None:
    """Do it in a daemon thread. Its errors are of no interest: the server ends the statement by itself, only later."""

    def main() -> None:
        with suppress(Exception):
            work()
        with _lock:
            _running.discard(thread)

    thread = threading.Thread(target=main, name="reaper", daemon=True)
    with _lock:
        _running.add(thread)
    thread.start()


def settle(seconds: float) -> None:
    """Wait until all of it is done, at most so long."""
    end = time.monotonic() + seconds
    with _lock:
        running = list(_running)
    for thread in running:
        thread.join(max(0.0, end - time.monotonic()))
