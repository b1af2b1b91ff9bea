"""Simulated clinics, and two programs that synchronise their patients: one with SyncRun, and the existing one.

A patient is a number here; nobody has a name.
"""

from __future__ import annotations

import enum
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from math import ceil

from rounds.demo.clinic_log import Log
from rounds.syncs import SyncRun

#: Patients on a page.
PAGE = 50

#: Seconds that it takes to look at the configuration, to log in, to fetch a page, to go through what was fetched, to
#: store so many patients, and to look for those that are gone.
_LOOK, _LOG_IN, _FETCH, _PROCESS, _STORE, _COMPARE = 0.5, 1.0, 0.9, 2.0, 0.5, 1.0
_STORED_AT_A_TIME = 18
#: Seconds for which a page does not come, of which nobody is told.
_STANDSTILL = 40.0
#: Seconds of a run of the existing program.
_COMPREHENSIVE = 9.0


class Trouble(enum.Enum):
    """What befalls a run."""

    NONE = enum.auto()
    TOO_SOON = enum.auto()
    REFUSED = enum.auto()
    TOO_MANY_REQUESTS = enum.auto()
    CONSTRAINT = enum.auto()
    BAD_RECORDS = enum.auto()
    LOST_PAGE = enum.auto()
    STANDSTILL = enum.auto()


#: Where it happens: the page, or how many of the patients are stored by then, or which are not.
LOST_PAGE, SLOW_PAGE, LIMITED_PAGE = 7, 8, 2
CONSTRAINT_AFTER = 0.5
BAD_RECORDS = frozenset(range(40, 641, 50))


@dataclass
class Clinic:
    """A clinic and its patients.

    Attributes:
        organization: its id in the log.
        name: what the configuration calls it.
        operation: how it is synchronised.
        patients: that it has.
        stored: of these, in the table that is synchronised with it.
        total: patients that the existing program says it has processed, in all its runs together.
    """

    organization: str
    name: str
    operation: str
    patients: int
    stored: int = 0
    total: int = 0

    @property
    def pages(self) -> int:
        """On which the clinic lists its patients."""
        return ceil(self.patients / PAGE)


def make_clinics() -> dict[str, Clinic]:
    """The clinics by name, each with all of its patients stored."""
    clinics = (
        Clinic("org_demo_harbour", "harbour", "full_patients", 648),
        Clinic("org_demo_river", "river", "active_patients", 84),
        Clinic("org_demo_valley", "valley", "comprehensive_sync", 210),
    )
    for clinic in clinics:
        clinic.stored = clinic.patients
    return {clinic.name: clinic for clinic in clinics}


def synchronise(clinic: Clinic, log: Log, trouble: Trouble = Trouble.NONE, operation: str = "") -> Iterator[float]:
    """Synchronise a clinic as a program with SyncRun does. Gives the seconds that each piece of work takes."""
    with SyncRun(log.engine, organization=clinic.organization, operation=operation or clinic.operation) as run:
        run.step("checking_config")
        yield _LOOK
        if trouble is Trouble.TOO_SOON:
            run.skip()
            return
        run.step("validating_credentials")
        yield _LOG_IN
        if trouble is Trouble.REFUSED:
            run.fail("auth")
            return
        found = yield from _fetch(clinic, run, trouble)
        if trouble is Trouble.TOO_MANY_REQUESTS:
            run.fail("rate_limit")
            return
        run.step("processing_patients")
        yield _PROCESS
        run.step("storing_patients")
        for number in range(1, found + 1):
            if trouble is Trouble.BAD_RECORDS and number in BAD_RECORDS:
                run.failed("constraint")
            else:
                run.stored()
            if number % _STORED_AT_A_TIME == 0:
                yield _STORE
            if trouble is Trouble.CONSTRAINT and number > CONSTRAINT_AFTER * found:
                run.fail("constraint")
                return
        run.step("checking_deletions")
        yield _COMPARE
        # Those that were not found are taken for gone.
        if clinic.stored > found:
            run.deleted(clinic.stored - found)
        clinic.stored = found


def _fetch(clinic: Clinic, run: SyncRun, trouble: Trouble) -> Generator[float, None, int]:
    """Fetch the pages. Returns how many patients were found."""
    run.step("fetching_patients")
    found = 0
    for page in range(1, clinic.pages + 1):
        yield _FETCH
        if trouble is Trouble.TOO_MANY_REQUESTS and page == LIMITED_PAGE:
            return found
        if trouble is Trouble.LOST_PAGE and page == LOST_PAGE:
            break  # an answer without patients is taken for what comes after the last page
        if trouble is Trouble.STANDSTILL and page == SLOW_PAGE:
            yield _STANDSTILL
        found = min(page * PAGE, clinic.patients)
        run.page(page, of=clinic.pages, loaded=found)
    run.found(found)
    return found


def synchronise_as_before(clinic: Clinic, log: Log, *, ends: bool = True, in_time: bool = True) -> Iterator[float]:
    """Leave the rows that the existing program leaves: nothing in between, and counts of all its runs together.

    Args:
        clinic: what is synchronised.
        log: where.
        ends: whether the row is ever closed.
        in_time: whether it is closed as completed.
    """
    row = log.begin(clinic.organization, clinic.operation, {"sync_type": "comprehensive", "step": "initializing"})
    yield _COMPREHENSIVE
    if not ends:
        return
    if not in_time:
        log.end(row, "timeout", {"error": "Sync timed out"}, timed=False)
        return
    clinic.total += clinic.patients
    log.end(
        row,
        "completed",
        {
            "sync_type": "comprehensive",
            "step": "completed",
            "patients_processed": clinic.total,
            "appointments_processed": 3 * clinic.total,
            "errors": [],
        },
        records=clinic.total,
    )
