"""What an application counts and sets."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

from rounds.emr.app.intake import COUNTED, Intake
from rounds.emr.app.wrapping import wrap

F = TypeVar("F", bound=Callable[..., Any])


def amount(value: object) -> float | None:
    """A number that can be counted or stored; None for what is none, such as a text, NaN or an infinity."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except Exception:
        return None
    return number if math.isfinite(number) else None


class Count:
    """An event that was counted, unless this decorates a function: then each of its calls is counted instead."""

    __slots__ = ("_intake", "name", "taken", "value")

    def __init__(self, intake: Intake, name: object, value: float) -> None:
        self._intake = intake
        self.name = name
        self.value = value
        self.taken = False
        intake.put((COUNTED, self))

    def __call__(self, function: F) -> F:
        """A function that counts its calls before they are made."""
        # A writer that was quicker has counted one event too many, so that the first call is not counted again.
        ahead = self.value if self.taken else 0.0
        step, self.value = self.value, 0.0
        decorated: F = wrap(function, _Calls(self._intake, self.name, step, ahead))
        return decorated


class _Calls:
    """Counts calls."""

    __slots__ = ("_ahead", "_intake", "_name", "_step")

    def __init__(self, intake: Intake, name: object, step: float, ahead: float) -> None:
        self._intake, self._name, self._step, self._ahead = intake, name, step, ahead

    def begin(self) -> float:
        if self._ahead:
            self._ahead = 0.0
        else:
            Count(self._intake, self._name, self._step)
        return 0.0

    def ok(self, begin: float, result: object) -> None:
        """Counted already."""

    def failed(self, begin: float, error: BaseException) -> None:
        """Counted already."""


class Gauge:
    """A number that goes up and down. The writer looks at it now and then, so that no change is queued or lost."""

    __slots__ = ("_changed", "_value")

    def __init__(self) -> None:
        self._value = 0.0
        self._changed = False

    def set(self, value: float) -> None:
        """It is this now. What is no finite number changes nothing."""
        number = amount(value)
        if number is not None:
            self._value = number
            self._changed = True

    def add(self, value: float = 1.0) -> None:
        """It is so much more, or less, than before."""
        number = amount(value)
        if number is not None:
            # Between numbers, threads and handlers of signals do not come in between: that takes a call or a loop.
            self._value += number
            self._changed = True

    def changed(self) -> float | None:
        """Its value if it was set since this was last asked. For the writer."""
        if not self._changed:
            return None
        # In this order: a change in between is seen now or the next time.
        self._changed = False
        return self._value
