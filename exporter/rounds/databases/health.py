"""What is known of a source from using it."""

from __future__ import annotations

import threading


class Health:
    """Whether a source answered when it was last used, and how many statements it was sent. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.up: bool | None = None
        self.queries = 0

    def sent(self) -> None:
        """Count a statement."""
        with self._lock:
            self.queries += 1
