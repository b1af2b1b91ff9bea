"""Times of the existing program: its rows say the local time, without a zone."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, tzinfo

#: Zones differ from UTC by whole quarters of an hour.
_STEP = 900.0
_EARLIEST, _LATEST = -12 * 3600.0, 14 * 3600.0
#: Seconds that ``created_at``, which has no fraction, may lie before the time that it belongs to.
_ROUNDED = 1.0
#: No zone is further than this from UTC.
_FAR = timedelta(days=1)


class LocalTimes:
    """Understands these times.

    Args:
        zone: the zone that they are in. None where ``created_at``, which the database wrote in UTC, is to tell it,
            row by row: so a clock that was set forward in spring is followed without being known.
    """

    def __init__(self, zone: tzinfo | None = None) -> None:
        self._zone = zone

    def seconds(self, local: object, created: object) -> float | None:
        """Seconds since 1970; None where the text is no time.

        Args:
            local: the row's time.
            created: when it was written, the database's ``CURRENT_TIMESTAMP``: at once, or somewhat later.
        """
        said = _parsed(local)
        if said is None:
            return None
        if said.tzinfo is not None:
            return said.timestamp()
        written = _parsed(created)
        utc = None if written is None else (written if written.tzinfo else written.replace(tzinfo=UTC)).timestamp()
        if self._zone is not None:
            return _in_zone(said, self._zone, utc)
        if utc is None:
            return said.timestamp()
        ahead = said.replace(tzinfo=UTC).timestamp() - utc
        # Behind the true difference by as much as the row was written late: so it is the next quarter upwards.
        offset = math.ceil((ahead - _ROUNDED) / _STEP) * _STEP
        return utc if not _EARLIEST <= offset <= _LATEST else utc + ahead - offset


def _in_zone(said: datetime, zone: tzinfo, utc: float | None) -> float:
    first, second = (said.replace(tzinfo=zone, fold=fold).timestamp() for fold in (0, 1))
    # The hour that autumn repeats: it was the second one, unless the row was written before that.
    return second if utc is not None and first < second <= utc + _ROUNDED else first


def bound(since: float) -> str:
    """A text that every local time from then on comes behind: what an index can leave out."""
    return (datetime.fromtimestamp(since, UTC) - _FAR).strftime("%Y-%m-%dT%H:%M:%S")


def shown(at: float, zone: tzinfo | None = None) -> str:
    """A time as people read it, with its difference from UTC; in the computer's zone where none is given."""
    try:
        return datetime.fromtimestamp(at, UTC).astimezone(zone).isoformat(timespec="seconds")
    except (OverflowError, OSError, ValueError):
        return ""


def _parsed(text: object) -> datetime | None:
    if not isinstance(text, str):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
