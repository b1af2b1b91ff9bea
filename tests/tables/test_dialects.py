"""What every dialect promises, against real databases; fakesnow's server stands for Snowflake.

What fakesnow cannot do, and so is left out for it: it keeps a NUMBER(38,0) in 64 bits, loses the offset of a
TIMESTAMP_TZ, makes 1970 of a NULL timestamp, and hashes -0.0 as 0.0. The function of the token is the test server's
own, not fakesnow's.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rounds.errors import CollectorError
from rounds.tables.dialects import dialect_for
from rounds.tables.dialects.composed import ComposedDialect
from rounds.tables.dialects.dialect import Dialect, Plan
from rounds.tables.dialects.mariadb import MariadbDialect
from rounds.tables.layout import MODULUS, NULL_BUCKET, Layout, Pairs
from support.tables import Files, Lab, Overheard, lab_in, plan

KINDS = ("sqlite", "mariadb", "postgresql", "snowflake")
EXAMPLES = {kind: settings(max_examples=15 if kind == "snowflake" else 40, deadline=None) for kind in KINDS}
LOWEST, HIGHEST = -(2**63), 2**63 - 1

INTEGER = {"sqlite": "INTEGER", "mariadb": "bigint", "postgresql": "bigint", "snowflake": "NUMBER(38,0)"}
TEXT = {"sqlite": "TEXT", "mariadb": "varchar(60)", "postgresql": "text", "snowflake": "VARCHAR"}


@pytest.fixture
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A lab in the kind of database that a test is parametrized with."""
    kind: str = request.param
    if kind == "sqlite":
        return lab_in(kind, Files(tmp_path_factory.mktemp("sqlite")))
    return lab_in(kind, request.getfixturevalue({"snowflake": "fakesnow"}.get(kind, kind)))


every = pytest.mark.parametrize("lab", KINDS, indirect=True)

Found = dict[int, Counter[tuple[int, int]]]


def counted(buckets: Iterator[tuple[int, Pairs]]) -> Found:
    """Pairs by bucket, each bucket once."""
    found: Found = {}
    for bucket, pairs in buckets:
        assert bucket not in found
        assert len(pairs)
        found[bucket] = Counter(zip(pairs.keys, pairs.hashes, strict=True))
    return found


def check(dialect: Dialect, made: Plan) -> Found:
    """Digests are those of the pairs, and some buckets are read as they are when all are."""
    found = counted(dialect.pairs(made))
    digests = dict(dialect.digests(made))
    sums = {
        bucket: (pairs.total(), sum(row_hash * number for (_, row_hash), number in pairs.items()) % MODULUS)
        for bucket, pairs in found.items()
    }
    assert {bucket: (digest.rows, digest.sum) for bucket, digest in digests.items()} == sums
    some = list(found)[::2]
    assert counted(dialect.pairs(made, [*some, 2**40])) == {bucket: found[bucket] for bucket in some}
    assert counted(dialect.pairs(made, [])) == {}
    return found


VALUES = st.sampled_from(
    [None, "", " ", "a", "a ", "A", "N", "1:N", "1:a", ",", "1,", "\u00e9", "e\u0301", "\U0001f600", "%s?:'\"`\\", "N,"]
)
KEYS = st.sampled_from([None, LOWEST, HIGHEST, 0]) | st.integers(-5000, 5000) | st.integers(LOWEST, HIGHEST)


@every
def test_rows_differ_exactly_where_hashes_do(lab: Lab) -> None:
    """For duplicates, NULL keys and keys at the bounds of 64 bits too, in every layout; and again as imported rows."""
    lab.create("t", [("ID", INTEGER[lab.kind]), ("A", TEXT[lab.kind]), ("B", TEXT[lab.kind])])

    @EXAMPLES[lab.kind]
    @given(rows=st.lists(st.tuples(KEYS, VALUES, VALUES), max_size=12), again=st.integers(0, 3))
    def run(rows: list[tuple[int | None, str | None, str | None]], again: int) -> None:
        rows += rows[:again]
        lab.fill("t", rows)
        with lab.open("t") as dialect:
            columns = dialect.columns()
            hashed = plan(columns, Layout("hash", 4))
            found = check(dialect, hashed)
            assert sorted(Counter(rows).values()) == sorted(n for pairs in found.values() for n in pairs.values())
            assert counted(dialect.hashes(hashed, rows)) == found
            composite = check(dialect, plan(columns, Layout("hash", 2), keys=3))
            assert sum(map(len, composite.values())) == len(set(rows))
            assert all(key % 2 == bucket for bucket, pairs in composite.items() for key, _ in pairs)
            ranges = plan(columns, Layout("range", 2048), key_max=True)
            found = check(dialect, ranges)
            assert counted(dialect.hashes(ranges, rows)) == found
            keys = Counter(key or 0 for pairs in found.values() for key, _ in pairs.elements())
            assert keys == Counter(key or 0 for key, *_ in rows)
            for bucket, pairs in found.items():
                inside = {key for key, *_ in rows if _bucket(key) == bucket}
                assert {key for key, _ in pairs} == {key or 0 for key in inside}
            largest = {bucket: digest.key_max for bucket, digest in dialect.digests(ranges)}
            assert largest == {
                bucket: max((key for key, *_ in rows if key is not None and _bucket(key) == bucket), default=None)
                for bucket in found
            }
            known = [key for key, *_ in rows if key is not None]
            assert dialect.extent(columns[0]) == (len(rows), min(known, default=None), max(known, default=None))
            assert dialect.count() == len(rows)

    run()


def _bucket(key: int | None) -> int:
    if key is None:
        return NULL_BUCKET
    return key - abs(key) % 2048 * (1 if key > 0 else -1)


@every
def test_hashes_depend_on_the_salt_and_on_the_key(lab: Lab) -> None:
    """Another salt gives other hashes of rows and keys; swapped contents move the sum; key and row hash differ."""
    lab.create("t", [("ID", INTEGER[lab.kind]), ("A", TEXT[lab.kind])])
    lab.fill("t", [(1, "x"), (2, "y")])
    found = []
    for salt in ("one", "another"):
        with lab.open("t", salt) as dialect:
            columns = dialect.columns()
            found.append(check(dialect, plan(columns, Layout("hash", 1))))
            (keyed,) = check(dialect, Plan(columns[:1], (), Layout("hash", 1), False)).values()
            assert all(key != row_hash for key, row_hash in keyed)
            assert dialect.canary() == dialect.canary()
    first, second = ({number for pair in pairs[0] for number in pair} for pairs in found)
    assert len(first) == len(second) == 4
    assert not first & second
    with lab.open("t") as dialect:
        before = dict(dialect.digests(plan(columns, Layout("hash", 1))))
        lab.fill("t", [(1, "y"), (2, "x")])
        assert dict(dialect.digests(plan(columns, Layout("hash", 1)))) != before


@every
def test_labels(lab: Lab) -> None:
    """Raw keys of a hash layout come with their text."""
    lab.create("t", [("ID", INTEGER[lab.kind]), ("A", TEXT[lab.kind]), ("B", TEXT[lab.kind])])
    rows = [(index % 7, None if index % 5 == 0 else f"caf\u00e9 {index}", "secret") for index in range(60)]
    lab.fill("t", rows)
    with lab.open("t") as dialect:
        made = plan(dialect.columns(), Layout("hash", 8, labels=True), keys=2)
        found: dict[int, str] = {}
        for bucket, pairs in dialect.pairs(made):
            assert pairs.labels is not None
            assert all(key % 8 == bucket for key in pairs.keys)
            found.update(zip(pairs.keys, pairs.labels, strict=True))
        texts = {f"{key}, {'NULL' if name is None else name}" for key, name, _ in rows}
        assert len(found) == len(texts)
        assert set(found.values()) == texts
        imported = {
            key: label for _, p in dialect.hashes(made, rows) for key, label in zip(p.keys, p.labels or (), strict=True)
        }
        assert imported == found


@pytest.mark.parametrize("lab", ["mariadb"], indirect=True)
def test_keys_beyond_64_bits(lab: Lab) -> None:
    """No range layout holds them."""
    lab.create("t", [("ID", "bigint unsigned"), ("A", TEXT[lab.kind])])
    lab.fill("t", [(2**63, "x")])
    for method in ("digests", "pairs"):
        with lab.open("t") as dialect:
            ranges = plan(dialect.columns(), Layout("range", 2048))
            with pytest.raises(CollectorError, match="64 bits") as caught:
                list(getattr(dialect, method)(ranges))
            assert caught.value.reason == "value"
    with lab.open("t") as dialect:
        check(dialect, plan(dialect.columns(), Layout("hash", 2), key_max=True))


@pytest.mark.parametrize(("lab", "width"), [("sqlite", 200), ("mariadb", 250), ("postgresql", 300)], indirect=["lab"])
def test_hundreds_of_columns(lab: Lab, width: int) -> None:
    """Every one of them counts."""
    lab.create("t", [("ID", INTEGER[lab.kind]), *((f"c{index}", "text") for index in range(width - 1))])
    rows = [(row, *(str(index) for index in range(width - 1))) for row in range(3)]
    lab.fill("t", rows)
    with lab.open("t") as dialect:
        made = plan(dialect.columns(), Layout("hash", 2))
        before = check(dialect, made)
        assert counted(dialect.hashes(made, rows)) == before
        for index in (0, width // 2, width - 2):
            lab.sql(f"UPDATE t SET c{index} = '' WHERE {lab.quote('ID')} = 1")
            after = check(dialect, made)
            assert after != before
            before = after


@every
def test_many_buckets(lab: Lab) -> None:
    """More ranges than a statement takes, far apart, below and above zero."""
    lab.create("t", [("ID", INTEGER[lab.kind]), ("A", TEXT[lab.kind])])
    keys = [sign * index * 1000 for index in range(1, 401) for sign in (1, -1)]
    lab.fill("t", [(key, str(key)) for key in keys])
    with lab.open("t") as dialect:
        made = plan(dialect.columns(), Layout("range", 16))
        found = check(dialect, made)
        assert {key for pairs in found.values() for key, _ in pairs} == set(keys)
        assert counted(dialect.pairs(made, list(found))) == found
        check(dialect, plan(dialect.columns(), Layout("range", 2048)))


@every
def test_only_the_key_leaves_the_database(lab: Lab) -> None:
    """Of the rows, no planted value arrives; with keyed hashes no key either, but the largest."""
    lab.create("t", [("ID", INTEGER[lab.kind]), ("A", TEXT[lab.kind]), ("B", INTEGER[lab.kind])])
    lab.fill("t", [(770_000_000 + index, f"Planted {index}", 880_000_000 + index) for index in range(50)])
    with lab.databases.open("lab") as session:
        overheard = Overheard(session)
        dialect = dialect_for(overheard, lab.configured("t"), "the salt")
        dialect.prepare()
        columns = dialect.columns()
        dialect.token()
        dialect.canary()
        dialect.count()
        ranges = plan(columns, Layout("range", 16), key_max=True)
        for buckets in (None, [770_000_000 - 770_000_000 % 16]):
            list(dialect.pairs(ranges, buckets))
        list(dialect.digests(ranges))
        heard = repr(overheard.rows)
        assert "Planted" not in heard
        assert "88000" not in heard
        packed = b"".join(value for row in overheard.rows for value in row if isinstance(value, bytes))
        assert "770000001" in heard or (770_000_001).to_bytes(8, "big") in packed
        overheard.rows.clear()
        for key_max in (False, True):
            hashed = plan(columns, Layout("hash", 4), key_max=key_max)
            list(dialect.pairs(hashed))
            list(dialect.pairs(hashed, [0, 1]))
            list(dialect.digests(hashed))
            heard = repr(overheard.rows)
            assert "Planted" not in heard
            assert "88000" not in heard
            assert heard.count("7700000") == (4 if key_max else 0)
        assert not any("the salt" in statement for statement in overheard.statements)


@every
def test_columns(lab: Lab) -> None:
    """Views have columns too; what is not there is told."""
    lab.create("t", [("ID", INTEGER[lab.kind] + " NOT NULL"), ("A", TEXT[lab.kind])])
    lab.sql(f"CREATE VIEW {lab.name('v')} AS SELECT * FROM {lab.name('t')}")
    for name in ("t", "v"):
        with lab.open(name) as dialect:
            columns = dialect.columns()
            assert [column.name for column in columns] == ["ID", "A"]
            assert [column.integer for column in columns] == [lab.kind != "sqlite", False]
            check(dialect, plan(columns, Layout("hash", 2)))
    with lab.open("missing") as dialect, pytest.raises(CollectorError) as caught:
        dialect.columns()
    assert caught.value.reason == "query"


@every
def test_too_many_parts(lab: Lab) -> None:
    """No kind has names of more parts than its own."""
    most = 3 if lab.kind in ("postgresql", "snowflake") else 2
    with lab.databases.open("lab") as session, pytest.raises(CollectorError, match="parts"):
        dialect_for(session, ".".join(["a"] * (most + 1)), "")


@every
def test_names_are_folded_unless_quoted(lab: Lab) -> None:
    """As the database folds them."""
    folded = {"postgresql": str.lower, "snowflake": str.upper}.get(lab.kind, str)
    schema = {"sqlite": "main", "postgresql": "public", "snowflake": "public"}.get(lab.kind, lab.database)
    name = folded("Tab")
    lab.create(name, [("ID", INTEGER[lab.kind])])
    names = ["Tab", f"{schema}.Tab", f'{schema}."{name}"']
    if lab.kind == "snowflake":  # sources have no schema
        names = [f"{lab.database}.{name}" for name in names[1:]]
    for given_name in names:
        with lab.databases.open("lab") as session:
            dialect = dialect_for(session, given_name, "")
            dialect.prepare()
            assert len(dialect.columns()) == 1


@pytest.mark.parametrize("lab", ["postgresql"], indirect=True)
def test_another_database(lab: Lab) -> None:
    """A session of PostgreSQL reaches no other database than its own."""
    lab.create("t", [("ID", "bigint")])
    with lab.databases.open("lab") as session:
        dialect_for(session, f"{lab.database}.public.t", "").prepare()
        with pytest.raises(CollectorError, match="another database"):
            dialect_for(session, "elsewhere.public.t", "").prepare()


@pytest.mark.parametrize("lab", ["mariadb"], indirect=True)
def test_ranges_of_a_primary_key(lab: Lab) -> None:
    """What is summed up range by range is what GROUP BY finds; keys that are no such ranges are left to that."""
    shift = 2**63 - 20
    for keys, ranged in (
        ([], True),
        ([0], True),
        ([-15, -1, 0, 1, 15, 16, 17, 900, 5000], True),
        ([*range(1, 7000, 3), 31_000], True),
        ([-16, 5], False),
        ([5, 2**60], False),
        ([shift, 2**63 - 1], False),
    ):
        lab.sql("CREATE OR REPLACE TABLE t (ID bigint PRIMARY KEY, A varchar(40))")
        lab.insert("t", [(key, f"of {key}" if key % 7 else None) for key in keys])
        with lab.open("t") as dialect:
            assert isinstance(dialect, MariadbDialect)
            made = plan(dialect.columns(), Layout("range", 16), key_max=True)
            assert (dialect.ranges(made) is not None) == ranged, keys
            found = list(dialect.digests(made))
            grouped = list(ComposedDialect.digests(dialect, made))
        assert sorted(found, key=lambda pair: pair[0]) == sorted(grouped, key=lambda pair: pair[0])
        assert sum(digest.rows for _, digest in found) == len(keys)


@pytest.mark.parametrize("lab", ["mariadb"], indirect=True)
def test_ranges_of_other_keys(lab: Lab) -> None:
    """Without an index that begins with the key, and in a view, every range would cost a scan."""
    lab.sql(
        "CREATE TABLE t (ID bigint, A int, PRIMARY KEY (A, ID))",
        "INSERT INTO t VALUES (1, 1), (2, 2)",
        "CREATE VIEW v AS SELECT * FROM t",
    )
    for name in ("t", "v"):
        with lab.open(name) as dialect:
            assert isinstance(dialect, MariadbDialect)
            made = plan(dialect.columns(), Layout("range", 16))
            assert dialect.ranges(made) is None
            assert [(bucket, digest.rows) for bucket, digest in dialect.digests(made)] == [(0, 2)]


@pytest.mark.parametrize("lab", ["mariadb", "postgresql"], indirect=True)
def test_a_bucket_that_is_cut_is_noticed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer numbers than rows are an error and no change."""
    lab.create("t", [("ID", "bigint"), ("A", TEXT[lab.kind])])
    lab.fill("t", [(index, "x") for index in range(100)])
    with lab.open("t") as dialect:
        made = plan(dialect.columns(), Layout("range", 2048))
        if lab.kind == "mariadb":
            dialect.session.all("SET SESSION group_concat_max_len = 1000")
        else:
            monkeypatch.setattr(
                dialect,
                "packed",
                lambda key, row_hash: f"string_agg({key} || ',' || {row_hash}, ',') FILTER (WHERE {key} < 90)",
            )
        with pytest.raises(CollectorError, match="incomplete") as caught:
            list(dialect.pairs(made))
        assert caught.value.reason == "value"


# --- tokens -----------------------------------------------------------------------------------------------------------


def settled(dialect: Dialect, other_than: str | None = None) -> str:
    """The token once there is one, other than before."""
    end = time.monotonic() + 20
    while (token := dialect.token()) is None or token == other_than:
        assert time.monotonic() < end, "no token"
        time.sleep(0.05)
    return token


@every
@pytest.mark.slow
def test_token(lab: Lab) -> None:
    """It stays while nothing is committed, moves with every kind of change, and a fresh change has none or another."""
    lab.create("t", [("ID", INTEGER[lab.kind]), ("A", TEXT[lab.kind])])
    lab.fill("t", [(1, "x"), (2, "y")])
    with lab.open("t") as dialect:
        token = settled(dialect)
        dialect.count()
        assert dialect.token() == token
        for change in ("INSERT INTO t VALUES (3, 'z')", f"UPDATE t SET {lab.quote('A')} = ''", "DELETE FROM t"):
            lab.sql(change.replace(" t", f" {lab.name('t')}"))
            token = settled(dialect, token)
            if lab.kind != "postgresql":  # whose statistics may come in two parts
                assert dialect.token() == token


@pytest.mark.parametrize("lab", ["mariadb", "postgresql"], indirect=True)
def test_a_view_has_no_token(lab: Lab) -> None:
    """Whether a view changed cannot be told."""
    lab.create("t", [("ID", "bigint")])
    lab.sql("CREATE VIEW v AS SELECT * FROM t")
    with lab.open("v") as dialect:
        assert dialect.token() is None


@pytest.mark.parametrize("lab", ["postgresql"], indirect=True)
def test_tokens_of_partitions_and_parents(lab: Lab) -> None:
    """A partitioned table has the token of its partitions; a parent by inheritance has none."""
    lab.sql(
        "CREATE TABLE p (id bigint) PARTITION BY RANGE (id)",
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10)",
        "CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20)",
        "CREATE TABLE parent (id bigint)",
        "CREATE TABLE child () INHERITS (parent)",
    )
    with lab.open("p") as dialect:
        token = settled(dialect)
        lab.sql("INSERT INTO p VALUES (15)")
        token = settled(dialect, token)
        lab.sql("TRUNCATE p1")
        assert dialect.token() != token
    with lab.open("parent") as dialect:
        assert dialect.token() is None
