"""What a store says of the last hour and day: it is asked, as rows stay for weeks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import tzinfo

from rounds.emr.config import App
from rounds.emr.findings import number, slow_after
from rounds.emr.layout import SLOT_SECONDS
from rounds.emr.moments import local_text, offset, parse, utc
from rounds.emr.names import label, operation
from rounds.emr.reading import Store, text

_HOUR, _DAY = 3600, 86_400
#: Newest transactions that are looked at, as the existing program has no index on their times.
_TRANSACTIONS = 5000


@dataclass(frozen=True)
class Windows:
    """What happened lately.

    Attributes:
        errors: in the last 24 hours.
        groups: different ones among them.
        slow: operations in the last hour that were slow.
    """

    errors: int = 0
    groups: int = 0
    slow: int = 0


def windows(store: Store, app: App, zone: tzinfo | None, now: float) -> Windows:
    """Ask a store, whichever tables it has.

    Times of the existing program are local: for a day after its clock was put back, an hour may be missing.

    Args:
        store: the store.
        app: the configuration.
        zone: the zone of local times, None where it is not configured.
        now: Unix seconds.

    Raises:
        CollectorError: the store failed.
    """
    errors = groups = slow = 0
    existing, own = store.layout.existing, store.layout.own
    if "errors" in existing:
        since = _since(store, "errors", zone, now - _DAY)
        what = "count(DISTINCT error_hash)" if store.layout.has("errors", "error_hash") else "0"
        if since is not None:
            errors, groups = store.all(f"SELECT count(*), {what} FROM errors WHERE timestamp >= ?", since)[0]
    if "rounds_error_slot" in own:
        sql = "SELECT total(count), count(DISTINCT fingerprint) FROM rounds_error_slot WHERE slot >= ?"
        total, distinct = store.all(sql, int((now - _DAY) // SLOT_SECONDS))[0]
        errors, groups = errors + int(total), groups + distinct
    for name, seconds in (*_existing_operations(store, app, zone, now), *_own_operations(store, app, now)):
        slow += seconds > slow_after(app, name)
    return Windows(errors, groups, slow)


def _least(app: App) -> float:
    return min([app.operations.slow_after, *app.operations.slow.values()])


def _own_operations(store: Store, app: App, now: float) -> Iterator[tuple[str, float]]:
    if "rounds_timing" in store.layout.own:
        sql = "SELECT operation, seconds FROM rounds_timing WHERE at >= ? AND seconds > ?"
        yield from ((label(name), seconds) for name, seconds in store.stream(sql, now - _HOUR, _least(app)))


def _existing_operations(store: Store, app: App, zone: tzinfo | None, now: float) -> Iterator[tuple[str, float]]:
    least = _least(app) * 1000
    since = _since(store, "metrics", zone, now - _HOUR)
    if since is not None:
        sql = "metric_type = 'timing' AND timestamp >= ? AND value > ? AND typeof(value) IN ('integer', 'real')"
        sql = f"SELECT CAST(substr(name, 1, 200) AS BLOB), value FROM metrics WHERE {sql}"
        for name, value in store.stream(sql, since, least):
            yield operation(text(name)), value / 1000
    since = _since(store, "transactions", zone, now - _HOUR)
    if since is not None:
        newest = f"SELECT * FROM transactions ORDER BY id DESC LIMIT {_TRANSACTIONS}"
        sql = "SELECT CAST(substr(name, 1, 200) AS BLOB), duration_ms"
        for name, value in store.stream(
            f"{sql} FROM ({newest}) WHERE timestamp >= ? AND duration_ms > ?", since, least
        ):
            if number(value, float("inf")) is not None:
                yield label(text(name)), value / 1000


def _since(store: Store, table: str, zone: tzinfo | None, at: float) -> str | None:
    """A time as the rows of a table have it; None where that cannot be told, or there is none."""
    if table not in store.layout.existing:
        return None
    created = "CAST(created_at AS BLOB)" if store.layout.has(table, "created_at") else "NULL"
    sql = f"SELECT CAST(substr(timestamp, 1, 40) AS BLOB), {created} FROM {table} ORDER BY id DESC LIMIT 1"
    for timestamp, written in store.all(sql):
        if zone is not None:
            return local_text(at, zone, 0)
        local, told = parse(text(timestamp)), utc(text(written))
        if local is not None and local.tzinfo is None and told is not None:
            naive = utc(text(timestamp))
            return None if naive is None else local_text(at, None, offset(naive, told))
    return None
