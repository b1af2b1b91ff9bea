"""Whatever a driver gives for a row becomes a record, or is left out and named."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as some

from rounds.syncs.log import Record
from rounds.syncs.rows import LONGEST_DETAILS, LONGEST_METADATA, LONGEST_TEXT, record, unix

MELBOURNE = ZoneInfo("Australia/Melbourne")
NOON = datetime(2026, 3, 6, 12, tzinfo=UTC)


def of(**values: Any) -> Record:
    return record({"id": 1, "status": "running", "operation_type": "full_patients", **values}, MELBOURNE)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (7, "7"),
        ("run 7", "run 7"),
        (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (b"bytes \xff", "bytes \N{REPLACEMENT CHARACTER}"),
        (None, ""),
    ],
)
def test_an_id_is_text(value: object, expected: str) -> None:
    assert of(id=value).id == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("org_1", "org_1"),
        (123, "123"),
        (None, ""),
        ("", ""),
        ('a"b\\c\nd{}', 'a"b\\c\nd{}'),
        ("a\0b\ud800c", "a\ufffdb\ufffdc"),
        ("x" * 5000, "x" * LONGEST_TEXT),
    ],
)
def test_an_organization_is_text(value: object, expected: str) -> None:
    assert of(organization_id=value).organization == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("running", "running"),
        ("  Completed\n", "completed"),
        ("FAILED", "failed"),
        (None, ""),
        (b"Timeout ", "timeout"),
    ],
)
def test_a_status_is_in_lower_case(value: object, expected: str) -> None:
    assert of(status=value).status == expected


@pytest.mark.parametrize(
    "value",
    [
        NOON,
        NOON.astimezone(timezone(timedelta(hours=3))),
        NOON.astimezone(timezone(timedelta(hours=-3))),
        NOON.astimezone(MELBOURNE).replace(tzinfo=None),
        "2026-03-06T12:00:00Z",
        "2026-03-06T12:00:00.000000+00:00",
        "2026-03-06 12:00:00+00",
        "2026-03-06 15:00:00+03:00",
        "2026-03-06T09:00:00.0-0300",
        " 2026-03-06 23:00:00 ",
        "2026-03-06T23:00:00.000",
        b"2026-03-06 23:00:00",
        NOON.timestamp(),
        int(NOON.timestamp()),
        Decimal(int(NOON.timestamp())),
    ],
    ids=str,
)
def test_a_time_is_understood(value: object) -> None:
    found = of(started_at=value, completed_at=value, updated_at=value)
    assert found.started == found.completed == found.updated == NOON.timestamp()
    assert not found.problems


def test_a_fraction_of_a_second_is_kept_and_a_date_is_its_midnight() -> None:
    assert of(started_at="2026-03-06T12:00:00.25Z").started == NOON.timestamp() + 0.25
    assert of(started_at="2026-03-06T12:00:00.250000999Z").started == NOON.timestamp() + 0.25
    assert of(started_at=date(2026, 3, 6)).started == of(started_at="2026-03-06 00:00").started


def test_the_hour_that_comes_twice_and_the_one_that_never_comes() -> None:
    twice = datetime(2026, 4, 5, 2, 30)  # noqa: DTZ001  # as a driver gives it
    assert of(started_at=twice).started == datetime(2026, 4, 4, 15, 30, tzinfo=UTC).timestamp(), "the first of the two"
    never = datetime(2026, 10, 4, 2, 30)  # noqa: DTZ001
    assert of(started_at=never).started == datetime(2026, 10, 3, 16, 30, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "value",
    [
        "infinity",
        "-infinity",
        "0000-00-00 00:00:00",
        "0000-00-00 00:00:00+00:00",
        "yesterday",
        "06/03/2026",
        "2026-02-30 00:00:00",
        "12026-01-01 00:00:00",
        "0044-03-15 00:00:00 BC",
        "0001-01-01 00:00:00",
        "1772798400",
        float("inf"),
        float("nan"),
        Decimal("NaN"),
        Decimal("sNaN"),
        -1,
        1_772_798_400_000,
        10**400,
        True,
        [NOON],
        {},
        datetime.min,  # noqa: DTZ901  # as a driver gives it
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-14))),
    ],
    ids=repr,
)
def test_a_time_that_makes_no_sense_is_absent(value: object) -> None:
    found = of(started_at=value)
    assert found.started is None
    assert found.problems == {"bad_time"}


@pytest.mark.parametrize("value", [None, "", b""])
def test_what_is_empty_is_no_problem(value: object) -> None:
    names = ("started_at", "completed_at", "updated_at", "records_processed", "metadata")
    found = of(**dict.fromkeys(names, value))
    assert (found.started, found.completed, found.processed, found.metadata) == (None, None, None, {})
    assert not found.problems
    assert of() == found


@pytest.mark.parametrize(
    "value", [648, Decimal(648), Decimal("648.00"), 648.0, "648", " 648 ", "648.0", "+648", b"648"], ids=repr
)
def test_a_count_is_understood(value: object) -> None:
    found = of(records_processed=value, records_success=value, records_failed=value)
    assert found.processed == found.succeeded == found.failed == 648
    assert not found.problems


@pytest.mark.parametrize(
    "value",
    [
        *(-1, "-1", 0.5, "0.5", "many", "1_000", "٣", True, [], {}, 2**63, str(2**63), "9" * 5000),
        *(float("inf"), float("nan"), 1e300, Decimal("NaN"), Decimal("sNaN"), Decimal("1e999999"), Decimal("0.1")),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_count_that_makes_no_sense_is_absent(value: object) -> None:
    found = of(records_failed=value)
    assert found.failed is None
    assert found.problems == {"bad_count"}
    assert of(records_failed=2**63 - 1).failed == 2**63 - 1


@pytest.mark.parametrize("value", [{"step": "x"}, '{"step": "x"}', b' {"step": "x"} '], ids=repr)
def test_metadata_is_an_object(value: object) -> None:
    found = of(metadata=value)
    assert found.metadata == {"step": "x"}
    assert not found.problems


@pytest.mark.parametrize("value", [None, "", "  ", "{}", "null", {}])
def test_metadata_may_be_empty(value: object) -> None:
    found = of(metadata=value)
    assert found.metadata == {}
    assert not found.problems


@pytest.mark.parametrize(
    "value",
    [
        *("[]", "5", '"text"', '{"a": ', "{'a': 1}", '{"a": NaN}', '{"a": Infinity}', "true", "{}{}", [], [{}], 5, 0.5),
        *("[" * 100_000, '{"a":' * 100_000, '{"a": ' + "9" * 5000 + "}", True),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_metadata_of_another_form_is_empty(value: object) -> None:
    found = of(metadata=value)
    assert found.metadata == {}
    assert found.problems == {"bad_metadata"}


def test_metadata_may_be_large_but_not_endless() -> None:
    names = ["Patient Name"] * 50_000
    assert len(of(metadata=json.dumps({"deactivated_patients": names})).metadata["deactivated_patients"]) == 50_000
    found = of(metadata=json.dumps({"text": "x" * LONGEST_METADATA}))
    assert found.metadata == {}
    assert found.problems == {"bad_metadata"}


def test_metadata_may_hold_halves_of_pairs_and_nul() -> None:
    assert of(metadata=r'{"error": "\ud800 \u0000"}').metadata == {"error": "\ud800 \0"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("null", None),
        ("{}", {}),
        ({"errors": []}, {"errors": []}),
        (["a"], ["a"]),
        ('["a", 1]', ["a", 1]),
        ("401 Unauthorized", "401 Unauthorized"),
        (b"No \xff", "No \ufffd"),
        ('{"cut off', '{"cut off'),
        ("[" * 100_000, "[" * LONGEST_DETAILS),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_details_are_json_or_text(value: object, expected: object) -> None:
    found = of(error_details=value)
    assert found.details == expected
    assert not found.problems


def test_nothing_of_a_patient_is_shown() -> None:
    assert "Somebody" not in repr(of(metadata={"deactivated_patients": ["Somebody"]}, error_details="Somebody"))


_ANYTHING = some.recursive(
    some.none()
    | some.booleans()
    | some.integers()
    | some.floats()
    | some.decimals()
    | some.text(some.characters(codec=None))
    | some.binary()
    | some.datetimes()
    | some.datetimes(timezones=some.timezones())
    | some.dates()
    | some.times()
    | some.timedeltas()
    | some.uuids(),
    lambda inner: some.lists(inner) | some.dictionaries(some.text(), inner),
    max_leaves=5,
)


@given(
    some.fixed_dictionaries(
        dict.fromkeys(
            ["id", "started_at", "status", "organization_id", "records_failed", "metadata", "error_details"], _ANYTHING
        )
    )
)
def test_nothing_raises(row: dict[str, Any]) -> None:
    found = record(row, MELBOURNE)
    assert isinstance(found.id, str)
    found.organization.encode()
    found.status.encode()
    assert found.started is None or found.started >= 0
    assert found.failed is None or 0 <= found.failed < 2**63
    assert isinstance(found.metadata, dict)


@given(some.datetimes(datetime(1971, 1, 1), datetime(2099, 1, 1)))  # noqa: DTZ001  # of any zone
def test_a_time_is_the_same_however_it_is_written(naive: datetime) -> None:
    assert unix(naive, MELBOURNE) == unix(naive.isoformat(), MELBOURNE) == unix(naive.isoformat(" "), MELBOURNE)
    aware = naive.replace(tzinfo=MELBOURNE)
    assert unix(aware, UTC) == unix(aware.isoformat(), UTC) == aware.timestamp()
