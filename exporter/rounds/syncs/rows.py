"""A row of a log, from whatever a driver or an API gives for its columns: typed, not interpreted.

What makes no sense is left out and named; nothing here raises, and nothing of a value is told.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import date, datetime, time, tzinfo
from decimal import Decimal
from typing import Any

from rounds.syncs.log import Glimpse, Record
from rounds.syncs.states import Problem

#: Characters of ``metadata`` that are read. A document that is longer says nothing.
LONGEST_METADATA = 1_048_576
#: Characters of ``error_details`` that are read; the rest is cut off.
LONGEST_DETAILS = 65_536
#: Characters of other texts that are read; the rest is cut off.
LONGEST_TEXT = 512

_YEAR_10000 = 253_402_300_800
_COUNT_LIMIT = 2**63
#: Before a Decimal is made an int, as an exponent makes any number of digits.
_COUNT_DIGITS = 20
_WHOLE = re.compile(r"\+?([0-9]{1,20})(?:\.0*)?")
#: Halves of pairs, which no encoding of Unicode has, and what ends a text elsewhere.
_UNWRITABLE = re.compile("[\ud800-\udfff\0]")
_MIDNIGHT = time()


def record(row: Mapping[str, Any], zone: tzinfo) -> Record:
    """A row as a record.

    Args:
        row: values by the names that the configuration's ``columns`` has; those that a table has not are absent.
        zone: of times that have none.
    """
    problems: set[Problem] = set()

    def moment(name: str) -> float | None:
        value = row.get(name)
        found = unix(value, zone)
        if found is None and not _absent(value):
            problems.add("bad_time")
        return found

    def count(name: str) -> int | None:
        value = row.get(name)
        found = _count(value)
        if found is None and not _absent(value):
            problems.add("bad_count")
        return found

    metadata = _metadata(row.get("metadata"))
    if metadata is None:
        problems.add("bad_metadata")
    return Record(
        id=identifier(row.get("id")),
        organization=_text(row.get("organization_id")),
        operation=_text(row.get("operation_type")),
        status=_status(row.get("status")),
        started=moment("started_at"),
        completed=moment("completed_at"),
        updated=moment("updated_at"),
        processed=count("records_processed"),
        succeeded=count("records_success"),
        failed=count("records_failed"),
        metadata=metadata or {},
        details=_details(row.get("error_details")),
        problems=frozenset(problems),
    )


def glimpse(identity: object, started: object, status: object, zone: tzinfo) -> Glimpse:
    """As much of a row as is looked at first."""
    return Glimpse(identifier(identity), unix(started, zone), _status(status))


def identifier(value: object) -> str:
    """An id as text, exactly as the database would write it."""
    return _decoded(value) if isinstance(value, bytes) else "" if value is None else str(value)


def unix(value: object, zone: tzinfo) -> float | None:
    """A time in Unix seconds, None where it makes no sense or lies outside the years 1970 to 9999.

    Args:
        value: a date, with time or without; an ISO text; or Unix seconds as a number.
        zone: of times that have none. Of an hour that comes twice, the first is taken.
    """
    if isinstance(value, bytes):
        value = _decoded(value)
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value.strip())
        elif isinstance(value, date) and not isinstance(value, datetime):
            value = datetime.combine(value, _MIDNIGHT)
        if isinstance(value, datetime):
            seconds = (value if value.tzinfo else value.replace(tzinfo=zone)).timestamp()
        elif isinstance(value, int | float | Decimal) and not isinstance(value, bool):
            seconds = float(value)
        else:
            return None
    except (ValueError, OverflowError):
        return None
    return seconds if 0 <= seconds < _YEAR_10000 else None


def _absent(value: object) -> bool:
    return value is None or value in ("", b"")


def _decoded(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _text(value: object) -> str:
    return _UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", identifier(value)[:LONGEST_TEXT])


def _status(value: object) -> str:
    return _text(value).strip().lower()


def _count(value: object) -> int | None:
    if isinstance(value, bytes):
        value = _decoded(value)
    if isinstance(value, str):
        match = _WHOLE.fullmatch(value.strip())
        value = int(match[1]) if match else None
    if isinstance(value, Decimal):
        value = value if value.is_finite() and value.adjusted() < _COUNT_DIGITS else None
    elif isinstance(value, float) and not math.isfinite(value):
        value = None
    if isinstance(value, float | Decimal):
        value = int(value) if value == int(value) else None
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value < _COUNT_LIMIT else None


def _metadata(value: object) -> Mapping[str, Any] | None:
    if isinstance(value, bytes):
        value = _decoded(value)
    if isinstance(value, str):
        if not value.strip():
            return {}
        value = _parsed(value) if len(value) <= LONGEST_METADATA else None
        # What says "null" is a document, and says nothing.
        return {} if value is _NULL else value if isinstance(value, dict) else None
    return {} if value is None else value if isinstance(value, dict) else None


def _details(value: object) -> Any:
    if isinstance(value, bytes):
        value = _decoded(value)
    if isinstance(value, str):
        text = value[:LONGEST_DETAILS]
        found = _parsed(text)
        return None if found is _NULL else text if found is None else found
    return value


_NULL = object()


def _parsed(text: str) -> Any:
    """What a JSON text says, ``_NULL`` for null, None where it is none."""
    try:
        # Python would take NaN and Infinity, which are no JSON, for numbers.
        found = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return _NULL if found is None else found


def _refuse(constant: str) -> Any:
    raise ValueError(constant)
