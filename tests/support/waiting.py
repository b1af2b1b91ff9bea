"""Waiting for a condition, with an end."""

from __future__ import annotations

import time
from collections.abc import Callable


def eventually(condition: Callable[[], bool], within: float = 30.0, every: float = 0.02) -> bool:
    """Whether the condition holds, asked every so many seconds for so many seconds."""
    end = time.monotonic() + within
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(every)
    return True
