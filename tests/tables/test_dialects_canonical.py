"""Hashes that databases compute equal those of the documented canonical form, computed in a second hand."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rounds.tables.layout import Layout
from support.canonical import Encoded, counted, key_hash, plain, row_hash, typed
from support.mariadb import MariadbServer
from support.postgresql import PostgresqlServer
from support.tables import Files, Lab, lab_in, plan

SALT = "s%s'?:\u00e9"
ODD = "n%s ?:\"`'%%"
INT64 = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, -0.0, 1e22, 0.1 + 0.2, 5e-324])
SINGLES = st.floats(width=32, allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, -0.0])
TRICKY = ["", " ", "a", "a ", "N", "1:N", "\u00e9", "e\u0301", "\U0001f600", "%s", "?", "'", '"', "`", "\\", ",", ":x"]
TEXT = st.sampled_from(TRICKY) | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
LATIN = st.text("a\u00e9\u00ff ,:N'%?0", max_size=8)
MOMENTS = st.datetimes(datetime(1971, 1, 1), datetime(2037, 1, 1))  # noqa: DTZ001  # columns without a zone
EXAMPLES = settings(max_examples=40, deadline=None)


def rows(*columns: st.SearchStrategy[Any]) -> st.SearchStrategy[list[tuple[Any, ...]]]:
    """Rows of these columns, any of which may be NULL but the first, the key, which tells them apart."""
    key, *others = columns
    row = st.tuples(key, *(st.none() | column for column in others))
    return st.lists(row, max_size=10, unique_by=lambda row: row[0])


def check(lab: Lab, name: str, expected: Sequence[Sequence[Encoded]], ids: Sequence[int] = ()) -> None:
    """Read the table by keyed hashes and by ranges, and compare with rows as they should be encoded."""
    keys = [key_hash(SALT, row[:1]) for row in expected]
    hashes = [row_hash(SALT, row) for row in expected]
    with lab.open(name, SALT) as dialect:
        columns = dialect.columns()
        found = [pairs for _, pairs in dialect.pairs(plan(columns, Layout("hash", 4)))]
        assert sorted(p for pairs in found for p in zip(pairs.keys, pairs.hashes, strict=True)) == sorted(
            zip(keys, hashes, strict=True)
        )
        digests = dict(dialect.digests(plan(columns, Layout("hash", 1))))
        assert [digest.sum for digest in digests.values()] == ([sum(hashes) % 2**63] if hashes else [])
        if columns[0].integer:
            found = [pairs for _, pairs in dialect.pairs(plan(columns, Layout("range", 16)))]
            assert sorted(p for pairs in found for p in zip(pairs.keys, pairs.hashes, strict=True)) == sorted(
                zip(ids, hashes, strict=True)
            )


def text_of(value: object) -> str | None:
    """A number as text."""
    return None if value is None else str(value)


def decimal_of(value: Decimal | None) -> str | None:
    """A decimal as databases write it: they know no negative zero."""
    return None if value is None else format(abs(value) if value == 0 else value, "f")


def moment_of(value: datetime | None, digits: int) -> str | None:
    """A moment as MariaDB writes it."""
    return None if value is None else value.strftime("%Y-%m-%d %H:%M:%S.%f")[: 20 + digits]


def span_of(milliseconds: int | None) -> str | None:
    """A span of time as MariaDB writes it."""
    if milliseconds is None:
        return None
    seconds, rest = divmod(abs(milliseconds), 1000)
    sign = "-" if milliseconds < 0 else ""
    return f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{rest:03}"


# --- MariaDB ----------------------------------------------------------------------------------------------------------

MARIADB = [
    ("ID", "bigint NOT NULL PRIMARY KEY"),
    (ODD, "varchar(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"),
    ("latin", "varchar(8) CHARACTER SET latin1"),
    ("wide", "varchar(12) CHARACTER SET utf16"),
    ("fixed", "char(8)"),
    ("exact", "decimal(20,6)"),
    ("big", "bigint unsigned"),
    ("moment", "datetime(6)"),
    ("stamp", "timestamp(3) NULL DEFAULT NULL"),
    ("span", "time(3)"),
    ("bytes", "varbinary(20)"),
    ("bits", "bit(12)"),
    ("choice", "enum('a,b','')"),
    ("picked", "set('a','b','c')"),
    ("day", "date"),
    ("single", "float"),
    ("twice", "double"),
]


@pytest.fixture(scope="module")
def in_mariadb(mariadb: MariadbServer) -> Iterator[Lab]:
    """A MariaDB whose defaults are unusual."""
    before = mariadb.sql("SELECT @@GLOBAL.time_zone, @@GLOBAL.sql_mode")[0]
    mariadb.sql("SET GLOBAL time_zone = '+05:30'", "SET GLOBAL sql_mode = 'PAD_CHAR_TO_FULL_LENGTH'")
    try:
        lab = lab_in("mariadb", mariadb)
        lab.create('t%s `"?', MARIADB)
        yield lab
    finally:
        mariadb.sql(f"SET GLOBAL time_zone = '{before[0]}'", f"SET GLOBAL sql_mode = '{before[1]}'")


@EXAMPLES
@given(
    table=rows(
        INT64,
        TEXT,
        LATIN,
        TEXT,
        LATIN,
        st.decimals(-(10**13), 10**13, places=6),
        st.integers(0, 2**64 - 1),
        MOMENTS,
        MOMENTS,
        st.integers(-3_000_000_000, 3_000_000_000),
        st.binary(max_size=20) | st.just(b"\0"),
        st.integers(0, 4095),
        st.sampled_from(["a,b", ""]),
        st.integers(0, 7),
        st.dates(date(1000, 1, 1)),
        SINGLES,
        FLOATS,
    )
)
def test_mariadb(in_mariadb: Lab, table: list[tuple[Any, ...]]) -> None:
    """Text of several character sets, decimals, moments, bytes, bits, and the zone of the server is another."""
    name = 't%s `"?'
    floats = [tuple(text_of(value) for value in row[-2:]) for row in table]
    in_mariadb.fill(
        name,
        [(*row[:9], span_of(row[9]), *row[10:15], *given) for row, given in zip(table, floats, strict=True)],
    )
    texts = {
        row[0]: row[1:]
        for row in in_mariadb.sql(
            f"SELECT ID, CONCAT(CAST(single AS DOUBLE)), CONCAT(twice) FROM {in_mariadb.quote(name)}"
        )
    }
    expected = []
    for row in table:
        single, twice = texts[row[0]]
        assert twice == row[-1] if row[-1] is None else float(twice) == row[-1]
        assert (
            single == row[-2] if row[-2] is None else struct.pack("f", float(single)) == struct.pack("f", row[-2] + 0)
        )
        expected.append(
            [
                plain(str(row[0])),
                counted(row[1]),
                counted(row[2]),
                counted(row[3]),
                counted(row[4] if row[4] is None else row[4].rstrip(" ")),
                plain(decimal_of(row[5])),
                plain(text_of(row[6])),
                plain(moment_of(row[7], 6)),
                plain(moment_of(row[8] and row[8] - timedelta(hours=5, minutes=30), 3)),
                plain(span_of(row[9])),
                plain(row[10] if row[10] is None else row[10].hex().upper()),
                plain(text_of(row[11])),
                plain({None: None, "a,b": "1", "": "2"}[row[12]]),
                plain(text_of(row[13])),
                plain(text_of(row[14])),
                plain(single),
                plain(twice),
            ]
        )
    check(in_mariadb, name, expected, [row[0] for row in table])


# --- PostgreSQL -------------------------------------------------------------------------------------------------------

POSTGRESQL = [
    ("ID", "bigint PRIMARY KEY"),
    (ODD, "text"),
    ("fixed", "char(8)"),
    ("exact", "numeric"),
    ("scaled", "numeric(20,6)"),
    ("moment", "timestamp"),
    ("stamp", "timestamptz"),
    ("bytes", "bytea"),
    ("flag", "boolean"),
    ("document", "json"),
    ("words", "text[]"),
    ("day", "date"),
    ("small", "smallint"),
    ("single", "real"),
    ("twice", "double precision"),
]


@pytest.fixture(scope="module")
def in_postgresql(postgresql: PostgresqlServer) -> Lab:
    """A PostgreSQL whose defaults are unusual."""
    lab = lab_in("postgresql", postgresql)
    for setting in (
        "TimeZone = 'Asia/Kolkata'",
        "DateStyle = 'German, DMY'",
        "extra_float_digits = -3",
        "bytea_output = 'escape'",
        "IntervalStyle = 'iso_8601'",
    ):
        lab.sql(f"ALTER DATABASE {lab.database} SET {setting}")
    lab.create('t%s `"?', POSTGRESQL)
    return lab


def _stamp(value: datetime | None) -> str | None:
    if value is None:
        return None
    text = value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f").rstrip("0").rstrip(".")
    return text + "+00"


@EXAMPLES
@given(
    table=rows(
        INT64,
        TEXT,
        LATIN,
        st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30),
        st.decimals(-(10**13), 10**13, places=6),
        MOMENTS,
        st.datetimes(datetime(1971, 1, 1), datetime(2037, 1, 1), timezones=st.timezones()),  # noqa: DTZ001
        st.binary(max_size=20) | st.just(b"\0"),
        st.booleans(),
        st.dictionaries(LATIN, TEXT, max_size=3).map(json.dumps),
        st.lists(LATIN.filter(lambda text: "'" not in text), max_size=3),
        st.dates(),
        st.integers(-(2**15), 2**15 - 1),
        SINGLES,
        FLOATS,
    )
)
def test_postgresql(in_postgresql: Lab, table: list[tuple[Any, ...]]) -> None:
    """Text, numerics of any scale, moments with zones, bytes, JSON, arrays, and the database's settings are others."""
    name = 't%s `"?'
    in_postgresql.fill(name, table)
    texts = {
        row[0]: row[1:]
        for row in in_postgresql.sql(
            "SET extra_float_digits = 1",
            f'SELECT "ID", single::text, twice::text, words::text FROM {in_postgresql.quote(name)}',
        )
    }
    expected = []
    for row in table:
        single, twice, words = texts[row[0]]
        assert twice == row[-1] if row[-1] is None else repr(float(twice)) == repr(row[-1])
        assert single == row[-2] if row[-2] is None else struct.pack("f", float(single)) == struct.pack("f", row[-2])
        expected.append(
            [
                plain(str(row[0])),
                counted(row[1]),
                counted(row[2] if row[2] is None else row[2].rstrip(" ")),
                plain(decimal_of(row[3])),
                plain(decimal_of(row[4])),
                plain(_moment(row[5])),
                plain(_stamp(row[6])),
                plain(row[7] if row[7] is None else row[7].hex()),
                plain(row[8] if row[8] is None else str(row[8]).lower()),
                counted(row[9]),
                counted(words),
                plain(text_of(row[11])),
                plain(text_of(row[12])),
                plain(single),
                plain(twice),
            ]
        )
    check(in_postgresql, name, expected, [row[0] for row in table])


def _moment(value: datetime | None) -> str | None:
    return None if value is None else value.strftime("%Y-%m-%d %H:%M:%S.%f").rstrip("0").rstrip(".")


# --- SQLite -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def in_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """SQLite, whose columns hold values of any type."""
    lab = lab_in("sqlite", Files(tmp_path_factory.mktemp("sqlite")))
    lab.create('t%s `"?', [("ID", "INTEGER PRIMARY KEY"), (ODD, ""), ("b", "TEXT"), ("c", "BLOB")])
    return lab


ANY = (
    INT64
    | FLOATS.filter(lambda value: value != 0 or str(value) == "0.0")
    | st.floats(allow_nan=False)
    | TEXT
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
)


@EXAMPLES
@given(table=rows(INT64, ANY, TEXT, ANY))
def test_sqlite(in_sqlite: Lab, table: list[tuple[Any, ...]]) -> None:
    """Values of any type in one column: 1, 1.0, '1' and x'31' are four."""
    name = 't%s `"?'
    in_sqlite.fill(name, table)
    check(in_sqlite, name, [[typed(_stored(value)) for value in row] for row in table], [row[0] for row in table])


def _stored(value: Any) -> Any:
    """SQLite has one zero."""
    return 0.0 if isinstance(value, float) and value == 0 else value


def test_sqlite_invalid_text(in_sqlite: Lab) -> None:
    """Text that is no UTF-8 is hashed by its bytes, and shown as well as it can be."""
    in_sqlite.sql("CREATE TABLE broken (id TEXT, x)")
    in_sqlite.sql("INSERT INTO broken VALUES (CAST(x'61ff' AS TEXT), CAST(x'fe00' AS TEXT)), (x'61ff', 1)")
    with in_sqlite.open("broken", SALT) as dialect:
        ((_, pairs),) = dialect.pairs(plan(dialect.columns(), Layout("hash", 1, labels=True)))
        expected = {
            row_hash(SALT, [typed((b"a\xff",)), typed((b"\xfe\0",))]): "a\\xff",
            row_hash(SALT, [typed(b"a\xff"), typed(1)]): "61FF",
        }
        assert dict(zip(pairs.hashes, pairs.labels or [], strict=True)) == expected
