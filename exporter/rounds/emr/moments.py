"""When something happened, by an existing store's rows: a local time without its zone, and one that is UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

#: Zones differ from UTC by whole quarters of an hour.
_QUARTER = 900
#: No clock of today shows a time before it, or so far in the future that its year has five digits.
_SINCE = datetime(1970, 1, 2, tzinfo=UTC).timestamp()


def parse(text: str) -> datetime | None:
    """A time as it stands there; None where it is none."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def moment(timestamp: str, created: str, zone: tzinfo | None) -> float | None:
    """When a row says that it happened, as Unix seconds; None where that cannot be told.

    Args:
        timestamp: the local time.
        created: when the row was written, in UTC; "" where that is not known.
        zone: the local time's zone. When it is None, it is found from the difference of both, which is right if the
            row was written within minutes; else the result is nearer to when it was written.
    """
    local, written = parse(timestamp), utc(created)
    if local is None:
        return None
    if local.tzinfo is not None:
        return _plausible(local)
    if zone is None:
        if written is None:
            return None
        naive = local.replace(tzinfo=UTC).timestamp()
        return naive - offset(naive, written)
    first = _plausible(local.replace(tzinfo=zone, fold=0))
    second = _plausible(local.replace(tzinfo=zone, fold=1))
    if first is None or second is None or written is None:
        return first
    return min(first, second, key=lambda each: abs(each - written))


def utc(created: str) -> float | None:
    """The time of SQLite's ``CURRENT_TIMESTAMP`` in Unix seconds."""
    found = parse(created) if created else None
    return None if found is None else _plausible(found if found.tzinfo else found.replace(tzinfo=UTC))


def offset(local: float, written: float) -> float:
    """By how many seconds a local clock, whose time is taken for UTC, is ahead of UTC."""
    return round((local - written) / _QUARTER) * _QUARTER


def local_text(at: float, zone: tzinfo | None, ahead: float) -> str:
    """A time as the existing program writes it.

    Args:
        at: Unix seconds.
        zone: the program's, if it is known.
        ahead: seconds by which its clock is ahead of UTC where the zone is not known.
    """
    if zone is not None:
        return datetime.fromtimestamp(at, zone).replace(tzinfo=None).isoformat()
    return (datetime.fromtimestamp(at, UTC) + timedelta(seconds=ahead)).replace(tzinfo=None).isoformat()


def _plausible(time: datetime) -> float | None:
    try:
        at = time.timestamp()
    except (OverflowError, ValueError):
        return None
    return at if at >= _SINCE else None
