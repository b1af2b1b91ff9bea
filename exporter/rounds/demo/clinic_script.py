"""What befalls the synchronisation of the simulated clinics, and when. It is played again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rounds.demo.clinic import Clinic, Trouble, make_clinics, synchronise, synchronise_as_before
from rounds.demo.clinic_log import Log

SCRIPT_SECONDS = 360.0


class Clinics:
    """All clinics, and the log of their runs."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self._clinics = make_clinics()

    def __getitem__(self, name: str) -> Clinic:
        return self._clinics[name]

    def prepare(self) -> None:
        """Make the log, with its past."""
        self.log.prepare((each.organization, each.operation, each.patients) for each in self._clinics.values())


@dataclass(frozen=True)
class Scene:
    """A line of the script.

    Attributes:
        at: seconds after the script began.
        text: says what happens.
        do: does it; what takes longer comes as an iterator over the seconds until it goes on.
    """

    at: float
    text: str
    do: Callable[[Clinics], Iterator[float] | None]


def _sync(name: str, trouble: Trouble = Trouble.NONE, operation: str = "") -> Callable[[Clinics], Iterator[float]]:
    return lambda clinics: synchronise(clinics[name], clinics.log, trouble, operation)


def _before(name: str, *, ends: bool = True, in_time: bool = True) -> Callable[[Clinics], Iterator[float]]:
    return lambda clinics: synchronise_as_before(clinics[name], clinics.log, ends=ends, in_time=in_time)


def _tidy(clinics: Clinics) -> None:
    clinics.log.tidy()


SCRIPT = (
    Scene(3, "harbour synchronises its 648 patients", _sync("harbour")),
    Scene(15, "river synchronises its 84 patients", _sync("river")),
    Scene(25, "valley is synchronised by the existing program", _before("valley")),
    Scene(48, "harbour has nothing to do yet", _sync("harbour", Trouble.TOO_SOON, "incremental_sync")),
    Scene(55, "harbour's key is refused", _sync("harbour", Trouble.REFUSED)),
    Scene(70, "harbour's patients violate a constraint", _sync("harbour", Trouble.CONSTRAINT)),
    Scene(75, "river is asked for too much", _sync("river", Trouble.TOO_MANY_REQUESTS)),
    Scene(95, "valley is synchronised by the existing program", _before("valley")),
    Scene(110, "some of harbour's patients cannot be stored", _sync("harbour", Trouble.BAD_RECORDS)),
    Scene(115, "river synchronises", _sync("river")),
    Scene(155, "a page of harbour's gets lost, and with it half of the patients", _sync("harbour", Trouble.LOST_PAGE)),
    Scene(165, "valley's run will never end", _before("valley", ends=False)),
    Scene(185, "river synchronises", _sync("river")),
    Scene(190, "harbour synchronises all of its patients again", _sync("harbour")),
    Scene(235, "harbour answers no more, for a while", _sync("harbour", Trouble.STANDSTILL)),
    Scene(240, "valley's next run takes too long", _before("valley", in_time=False)),
    Scene(260, "river synchronises", _sync("river")),
    Scene(325, "river synchronises", _sync("river")),
    Scene(330, "valley is synchronised by the existing program", _before("valley")),
    Scene(345, "what was left running is closed", _tidy),
)
