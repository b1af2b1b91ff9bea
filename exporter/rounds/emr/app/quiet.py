"""Faults of the library's own reach nobody who only wanted to know something."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger("rounds.emr")


def quiet(default: Callable[[], R]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator: what would raise gives this instead, and says so in the log, by the kind of exception alone."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            except Exception as error:
                log.warning("%s failed: %s", function.__qualname__, type(error).__name__)
                return default()

        return call

    return decorate
