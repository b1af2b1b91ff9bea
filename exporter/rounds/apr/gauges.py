"""What holds now: gauges, each read by a statement that an index serves. Names of clients stay in the database.

A proposal is told by its number and client; it may have several rows in ``apr_valid_records``, one for each branch, of
which the least advanced one tells its status, as in the daily summary.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta

from rounds.apr import metrics
from rounds.apr.calendar import midnight, today
from rounds.apr.config import AprSection
from rounds.apr.layout import HISTORY, INVALID, LOG, PRODUCTS, SUMMARY, VALID, Layout, type_of
from rounds.apr.metrics import STATUSES, VALIDATION_TYPES
from rounds.apr.reader import Reader, to_date
from rounds.apr.statuses import bucket_of
from rounds.databases.session import Row
from rounds.metrics import Family, Histogram, Metric

#: Stands for everything that is not among the first N.
_REST = "_other"
#: The rank of what is in no other bucket: the last, as in the daily summary.
_OTHER = STATUSES.index("other")
_DATES = {INVALID: "DATA", HISTORY: "DATA", LOG: "target_date", PRODUCTS: "DATA", SUMMARY: "DATA", VALID: "DATA"}


@dataclass(frozen=True)
class Span:
    """The business dates that the tables hold.

    Attributes:
        oldest: the oldest one in each table that has rows.
        current: the latest one in any of them, None where all are empty.
    """

    oldest: dict[str, date]
    current: date | None


def span(reader: Reader, layout: Layout) -> Span:
    """Look up which business dates there are.

    Raises:
        CollectorError: as every function here, where the source fails.
    """
    tables = [table for table, column in _DATES.items() if layout.has(table, column)]
    if not tables:
        return Span({}, None)
    rows = reader.all(
        " UNION ALL ".join(
            f"SELECT '{table}', (SELECT MIN({_DATES[table]}) FROM {table}), (SELECT MAX({_DATES[table]}) FROM {table})"
            for table in tables
        )
    )
    oldest = {str(table): day for table, first, _ in rows if (day := to_date(first))}
    return Span(oldest, max((day for *_, last in rows if (day := to_date(last))), default=None))


@dataclass(frozen=True)
class _Names:
    """Where names stand, and which rows count."""

    table: str
    column: str
    where: str
    parameters: tuple[object, ...] = ()

    @property
    def behind(self) -> str:
        """The end of a statement that looks at these rows."""
        return f"FROM {self.table} WHERE {self.where}"


class Gauges:
    """Reads all of them in one run.

    Args:
        reader: of the source.
        layout: what the source has; what needs more is left out.
        section: the configuration.
        dates: from :func:`span`.
        now: the source's clock, in Unix seconds.
    """

    def __init__(self, reader: Reader, layout: Layout, section: AprSection, dates: Span, now: float) -> None:
        self._reader = reader
        self._layout = layout
        self._section = section
        self._dates = dates
        self._now = now
        #: As a parameter: text, which is what SQLite has and MariaDB takes. Without any rows no day is asked for.
        self._day = (dates.current or date.min).isoformat()

    def families(self) -> Iterator[Family]:
        """All of them."""
        yield from self._tables()
        yield from self._invalid_records()
        yield from self._proposals()
        yield from self._validity()
        yield from self._unconfirmed()
        yield from self._last_runs()
        yield from self._summary()
        yield from self._products()
        yield from self._tops()

    def _tables(self) -> Iterator[Family]:
        section = self._section
        present = [table for table in metrics.TABLES if self._layout.has(table, _DATES[table])]
        rows = self._reader.rows(present) if present else {}
        yield metrics.TABLE_ROWS.family(((table,), count) for table, count in rows.items())
        oldest = self._dates.oldest
        yield metrics.TABLE_OLDEST.family(((table,), midnight(day, section)) for table, day in oldest.items())
        current = self._dates.current
        yield metrics.BUSINESS_DATE.family([((), midnight(current, section) if current else None)])
        yield metrics.SCHEMA_PROBLEM.family((problem, 1) for problem in sorted(self._layout.problems))

    def _invalid_records(self) -> Iterator[Family]:
        if not self._layout.has(INVALID):
            return
        rows = self._reader.all(
            f"SELECT VALIDATION_TYPE, COUNT(*), MIN({self._reader.unix('detected_at')}) FROM {INVALID}"
            " WHERE is_resolved = 0 GROUP BY VALIDATION_TYPE"
        )
        yield metrics.INVALID.family(self._by_type(rows))
        oldest: dict[str, float] = {}
        for kind, _, at in rows:
            if at is not None:
                oldest[type_of(kind)] = min(at, oldest.get(type_of(kind), at))
        yield metrics.INVALID_OLDEST.family(((kind,), at) for kind, at in oldest.items())
        rows = self._reader.all(
            "SELECT VALIDATION_TYPE, COUNT(*) FROM"
            f" (SELECT VALIDATION_TYPE, PROPOSTA, CEDENTE FROM {INVALID} WHERE DATA = ? AND is_resolved = 1"
            " GROUP BY VALIDATION_TYPE, PROPOSTA, CEDENTE HAVING COUNT(*) > 1) AS again GROUP BY VALIDATION_TYPE",
            self._day,
        )
        yield metrics.FLAPPING.family(self._by_type(rows))

    def _by_type(self, rows: Iterable[Row]) -> Iterator[tuple[tuple[str], int]]:
        """Rows of type and count, with 0 for each type that a record can have and that is not among them."""
        found = Counter(dict.fromkeys(self._layout.validation_types, 0))
        for kind, count, *_ in rows:
            found[type_of(kind)] += count
        for kind, count in found.items():
            yield (kind,), count

    def _proposals(self) -> Iterator[Family]:
        if not self._layout.has(VALID):
            return
        # Buckets are found once for each text rather than for each row, which would take the server most of a run.
        texts = [
            row[0] for row in self._reader.all(f"SELECT STATUS FROM {VALID} WHERE DATA = ? GROUP BY STATUS", self._day)
        ]
        ranks = {text: STATUSES.index(bucket_of(text)) for text in texts}
        named = [(text, rank) for text, rank in ranks.items() if rank < _OTHER]
        rank = f"CASE STATUS {'WHEN ? THEN ? ' * len(named)}ELSE {_OTHER} END" if named else str(_OTHER)
        rows = self._reader.all(
            f"SELECT advanced, COUNT(*) FROM (SELECT MIN({rank}) AS advanced FROM {VALID}"
            " WHERE DATA = ? GROUP BY PROPOSTA, CEDENTE) AS proposals GROUP BY advanced",
            *itertools.chain.from_iterable(named),
            self._day,
        )
        counts = {STATUSES[int(advanced)]: count for advanced, count in rows}
        yield metrics.PROPOSALS.family(((status,), counts.get(status, 0)) for status in STATUSES)
        approved, titles = self._reader.one(
            f"SELECT SUM(VLR_APROVADOS), SUM(VALOR_TITULOS) FROM {VALID} WHERE DATA = ?", self._day
        )
        yield metrics.APPROVED_VALUE.family([((), float(approved or 0))])
        yield metrics.TITLE_VALUE.family([((), float(titles or 0))])

    def _validity(self) -> Iterator[Family]:
        if not (self._layout.has(VALID) and self._layout.has(INVALID)):
            return
        (invalid,) = self._reader.one(
            "SELECT COUNT(*) FROM"
            f" (SELECT DISTINCT PROPOSTA, CEDENTE FROM {INVALID} WHERE DATA = ? AND is_resolved = 0) AS proposals",
            self._day,
        )
        (valid,) = self._reader.one(
            f"SELECT COUNT(*) FROM (SELECT DISTINCT PROPOSTA, CEDENTE FROM {VALID} AS v WHERE DATA = ? AND NOT EXISTS"
            f" (SELECT 1 FROM {INVALID} AS i WHERE i.DATA = ? AND i.PROPOSTA = v.PROPOSTA AND i.CEDENTE = v.CEDENTE"
            " AND i.is_resolved = 0)) AS proposals",
            self._day,
            self._day,
        )
        yield metrics.VALID.family([((), valid)])
        yield metrics.INVALID_PROPOSALS.family([((), invalid)])
        yield metrics.CURRENT.family([((), valid + invalid)])

    def _unconfirmed(self) -> Iterator[Family]:
        if not (self._layout.has(VALID) and self._layout.has(VALID, "is_bot_processed", "is_confirmado")):
            return
        since = today(self._now, self._section) - timedelta(seconds=self._section.look_back)
        count, oldest = self._reader.one(
            f"SELECT COUNT(*), MIN(at) FROM (SELECT MIN({self._reader.unix('last_updated')}) AS at FROM {VALID}"
            " WHERE DATA >= ? AND is_bot_processed = 1 AND (is_confirmado = 0 OR is_confirmado IS NULL)"
            " GROUP BY DATA, PROPOSTA, CEDENTE) AS proposals",
            since.isoformat(),
        )
        yield metrics.UNCONFIRMED.family([((), count)])
        yield metrics.UNCONFIRMED_OLDEST.family([((), oldest)])

    def _last_runs(self) -> Iterator[Family]:
        if not self._layout.has(LOG):
            return
        types = [kind for kind in VALIDATION_TYPES if self._layout.has(LOG, f"invalid_{kind.lower()}")]
        invalid = " + ".join(f"COALESCE(invalid_{kind.lower()}, 0)" for kind in types)
        found = {}
        for mode in metrics.RUN_MODES:
            rows = self._reader.all(
                f"SELECT {self._reader.unix('run_timestamp')}, COALESCE(error_message, '') <> '',"
                " execution_time_seconds, COALESCE(total_records_queried, 0), COALESCE(valid_records, 0),"
                f" {invalid}, COALESCE(records_stored, 0) FROM {LOG} WHERE run_mode = ? ORDER BY id DESC LIMIT 1",
                mode,
            )
            if rows:
                found[mode] = rows[0]
        yield metrics.LAST_RUN.family(((mode,), row[0]) for mode, row in found.items())
        last = found.get("PRODUCTION")
        if last is not None:
            yield metrics.LAST_RUN_FAILED.family([((), int(last[1]))])
            yield metrics.LAST_RUN_DURATION.family([((), last[2])])
            results = zip(metrics.RESULTS, last[3:], strict=True)
            yield metrics.LAST_RUN_RECORDS.family(((result,), int(count)) for result, count in results)

    def _summary(self) -> Iterator[Family]:
        if self._layout.has(SUMMARY):
            rows = self._reader.all(
                f"SELECT {self._reader.unix('last_updated')} FROM {SUMMARY} WHERE DATA = ?", self._day
            )
            yield metrics.SUMMARY_UPDATED.family(((), at) for (at,) in rows)

    def _products(self) -> Iterator[Family]:
        if not self._layout.has(PRODUCTS):
            return
        rows = self._reader.all(
            f"SELECT products, COUNT(*) FROM (SELECT COUNT(*) AS products FROM {PRODUCTS} WHERE DATA = ?"
            " GROUP BY PROPOSTA, CEDENTE) AS proposals GROUP BY products",
            self._day,
        )
        bounds = metrics.PRODUCT_BOUNDS
        counts = [0] * (len(bounds) + 1)
        for products, proposals in rows:
            counts[next((index for index, bound in enumerate(bounds) if products <= bound), -1)] += proposals
        total = float(sum(products * proposals for products, proposals in rows))
        yield metrics.PRODUCTS.family([((), Histogram(bounds, tuple(counts), total))])

    def _tops(self) -> Iterator[Family]:
        """Names, where the configuration asks for them."""
        wanted = self._section.labels
        is_open = _Names(INVALID, "CEDENTE", "is_resolved = 0")
        yield from self._top(metrics.TOP_CEDENTE, wanted.cedente, is_open)
        yield from self._top(metrics.TOP_GERENTE, wanted.gerente, replace(is_open, column="GERENTE"))
        of_the_day = _Names(PRODUCTS, "PRODUTO", "DATA = ?", (self._day,))
        yield from self._top(metrics.TOP_PRODUTO, wanted.produto, of_the_day)

    def _top(self, metric: Metric, most: int, names: _Names) -> Iterator[Family]:
        if not (most and self._layout.has(names.table) and self._layout.has(names.table, names.column)):
            return
        rows = self._reader.all(
            f"SELECT {names.column}, COUNT(*) AS number {names.behind} GROUP BY {names.column}"
            f" ORDER BY number DESC, {names.column} LIMIT {most}",
            *names.parameters,
        )
        (total,) = self._reader.one(f"SELECT COUNT(*) {names.behind}", *names.parameters)
        found = Counter({_REST: total - sum(count for _, count in rows)})
        for name, count in rows:
            found["" if name is None else str(name)] += count
        yield metric.family(((name,), count) for name, count in found.items())
