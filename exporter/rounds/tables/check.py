"""One check of a watched table: is there anything new, what is it, and keep it, in this order."""

from __future__ import annotations

import dataclasses

from rounds.databases.session import Session
from rounds.ledger.ledger import Ledger
from rounds.tables import buckets, journal, record
from rounds.tables.buckets import DamagedError
from rounds.tables.config import WatchedTable
from rounds.tables.dialects import dialect_for
from rounds.tables.digests import Digests
from rounds.tables.growth import enlarge
from rounds.tables.plan import identify, known_plan, make_plan, resolve
from rounds.tables.record import Identity, Reason, Record
from rounds.tables.spool import Spool
from rounds.tables.strategy import Findings, Strategy


def check(watched: WatchedTable, session: Session, ledger: Ledger, now: float) -> Record:
    """Check a table and keep what was found, in one transaction.

    Args:
        watched: its configuration.
        session: a session with its source, just opened.
        ledger: where its record is.
        now: the time of the check, in Unix seconds.

    Returns:
        the record as it was committed.

    Raises:
        CollectorError: nothing was changed.
    """
    with ledger.reading() as connection:
        known = record.load(connection, watched.name)
    dialect = dialect_for(session, watched.table, ledger.salt)
    dialect.prepare()
    key, columns = resolve(watched, dialect.columns())
    identity = identify(watched, dialect, key, columns)
    # Before the scan: what is committed in between makes the next token another one, and is looked at then.
    token = dialect.token()
    if known and _unchanged(watched, known, identity, token, now):
        news = dataclasses.replace(known, checked_at=now, unchanged_total=known.unchanged_total + 1)
        with ledger.writing() as connection:
            return record.store(connection, news)
    identity = dataclasses.replace(identity, canary=dialect.canary())
    with Spool(ledger.folder) as spool:
        strategy: Strategy = Digests(dialect, ledger, watched.name, spool, watched.journal_max)
        reason = _incomparable(known, identity) if known else None
        plan, findings = None, None
        if known and reason in (None, "schema"):
            try:
                known = enlarge(ledger, known)
                plan = known_plan(watched, known, key, columns)
                findings = strategy.changes(plan, known.row_count, keys_only=reason == "schema")
            except DamagedError:
                reason = "lost"
                spool.clear()
        if plan is None or findings is None:
            plan = make_plan(watched, dialect, key, columns)
            findings = strategy.baseline(plan)
        rows, key_max = findings.row_count, findings.key_max
        found = Record(watched.name, identity, plan.layout, token, rows, key_max, now, now, now)
        news = _news(known, reason, found, findings)
        return _commit(ledger, news, findings)


def _unchanged(watched: WatchedTable, known: Record, identity: Identity, token: str | None, now: float) -> bool:
    """Whether the database's word is enough: it gave one, of the same columns, and is not trusted for too long."""
    fresh = 0 <= now - known.scanned_at < watched.full_check_every
    same = dataclasses.replace(identity, canary=known.identity.canary) == known.identity
    return fresh and same and token is not None and token == known.token


def _incomparable(known: Record, identity: Identity) -> Reason | None:
    """Why the rows cannot be compared with those of the record; None when they can."""
    before = known.identity
    if not before.canary:
        return "reset"
    if before.relation != identity.relation:
        return "table"
    if before.key_identity != identity.key_identity:
        return "keys"
    if before.canary != identity.canary:
        return "hashes"
    return "schema" if before.column_identity != identity.column_identity else None


def _news(known: Record | None, reason: Reason | None, found: Record, findings: Findings) -> Record:
    """The record after this check; ``found`` is what it would be as a first one."""
    news = found
    if known:
        now = found.checked_at
        counted = known.counted(findings.changes.counts, now) if findings.changes else known
        news = dataclasses.replace(
            counted.rebaselined(reason, now) if reason else counted,
            identity=found.identity,
            layout=found.layout,
            token=found.token,
            row_count=found.row_count,
            key_max=found.key_max,
            checked_at=now,
            scanned_at=now,
        )
    read = news.rows_read_total + findings.replaced.rows
    return dataclasses.replace(news, scanned_total=news.scanned_total + 1, rows_read_total=read)


def _commit(ledger: Ledger, news: Record, findings: Findings) -> Record:
    with ledger.writing() as connection:
        stored = record.store(connection, news)
        buckets.remove(connection, news.name, findings.gone)
        buckets.replace(connection, news.name, findings.replaced)
        if findings.changes:
            journal.write(connection, stored, findings.changes)
        journal.prune(connection, news.checked_at)
    return stored
