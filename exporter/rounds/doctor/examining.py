"""Runs examinations beside each other, each within its time. One that fails or hangs takes none of the others along."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from rounds.doctor.finding import Finding, Group
from rounds.errors import CollectorError

#: Seconds after which an examination is given up.
WITHIN = 40.0
#: Seconds after which, and between, words about what is waited for.
_TELL_EVERY = 3.0


@dataclass
class Examination:
    """One examination.

    Attributes:
        group: of findings about itself.
        subject: what is looked at, for people who wait.
        findings: gives what it finds, one by one. Runs in a thread of its own.
    """

    group: Group
    subject: str
    findings: Callable[[], Iterable[Finding]]
    _found: list[Finding] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def begin(self) -> None:
        """Begin it."""
        threading.Thread(target=self._main, name=f"doctor-{self.group}-{self.subject}", daemon=True).start()

    def wait(self, seconds: float) -> bool:
        """Whether it is over, after at most so many seconds."""
        return self._over.wait(max(seconds, 0))

    def found(self) -> list[Finding]:
        """What it has found so far; that it was given up is a finding too."""
        over, found = self._over.is_set(), list(self._found)
        if not over:
            told = f"the examination did not end within {WITHIN:g} s; what it found until then is told"
            found.append(Finding("warning", self.group, self.subject, told, ("run rounds doctor again",)))
        return found

    def _main(self) -> None:
        try:
            for finding in self.findings():
                self._found.append(finding)
        except CollectorError as error:
            found, _, remedy = str(error).partition("; ")
            self._found.append(Finding("error", self.group, self.subject, found, (remedy,) if remedy else ()))
        except Exception as error:  # noqa: BLE001  # its message may quote data
            told = f"the examination failed with {type(error).__name__}"
            self._found.append(Finding("warning", self.group, self.subject, told, ("report it as a fault of Rounds",)))
        finally:
            self._over.set()


def examine(examinations: Sequence[Examination]) -> list[Finding]:
    """Run them all and give what they found, in their order. Says on standard error what takes long."""
    for examination in examinations:
        examination.begin()
    began = told = time.monotonic()
    end = began + WITHIN
    waiting = list(examinations)
    while waiting and (now := time.monotonic()) < end:
        waiting[0].wait(min(_TELL_EVERY, end - now))
        waiting = [each for each in waiting if not each.wait(0)]
        if waiting and time.monotonic() - told >= _TELL_EVERY:
            told = time.monotonic()
            names = ", ".join(each.subject for each in waiting)
            print(f"rounds: still examining {names} ({told - began:.0f} s)", file=sys.stderr)
    return [finding for examination in examinations for finding in examination.found()]
