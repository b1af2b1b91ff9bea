"""What holds now: gauges, from what is known of a log and from the runs that are active."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import starmap

from rounds.metrics import Family, Metric, Value
from rounds.syncs import metrics
from rounds.syncs.config import Sync
from rounds.syncs.facts import Facts, Past
from rounds.syncs.knowledge import Key, Knowledge
from rounds.syncs.organizations import is_hidden, label_of, operation_of, organization_of
from rounds.syncs.progress import Point, Progress
from rounds.syncs.runs import Run
from rounds.syncs.states import ENDED, OTHER, RESULTS, STEPS


class Gauges:
    """All gauges of one look.

    Args:
        sync: the configuration.
        known: what is known of the log.
        runs: those that have not ended.
        now: the source's clock, in Unix seconds.
        progress: what is remembered of active runs.
    """

    def __init__(self, sync: Sync, known: Knowledge, runs: Iterable[Run], now: float, progress: Progress) -> None:
        self._sync = sync
        self._known = known
        self._now = now
        self._facts: dict[Key, Facts] = {}
        for key, facts in known.facts.items():
            labels = self._labels(key)
            if labels[0] != OTHER and facts.newest >= self._facts.get(labels, facts).newest:
                self._facts[labels] = facts
        #: Labels of all that is known, ``_other`` among them.
        self.keys: frozenset[Key] = frozenset(map(self._labels, known.facts))
        self.active: dict[Key, list[Run]] = {}
        self._stale: Counter[Key] = Counter()
        self._orphaned: Counter[Key] = Counter()
        for run in runs:
            self._sort(run)
        newest = {key: max(runs, key=_age) for key, runs in self.active.items() if key[0] != OTHER}
        self._newest = {key: (run, progress.point(run, now, self._expected(key))) for key, run in newest.items()}
        progress.keep([run.row for runs in self.active.values() for run in runs])

    @property
    def last_success(self) -> float | None:
        """When the newest successful run of any organisation ended."""
        found = (facts.successes for facts in self._known.facts.values())
        return max((successes[0].said for successes in found if successes), default=None)

    def families(self) -> Iterator[Family]:
        """All of them."""
        yield from self._last_runs()
        yield from self._patients()
        yield from self._active()
        yield from self._progress()
        yield self._expected_intervals()
        yield self._organizations()

    # --- who is who -----------------------------------------------------------------------------------------------

    def _labels(self, key: Key) -> Key:
        organization, operation = key
        if organization in self._known.labelled:
            organization = label_of(organization, self._sync.organizations)
        else:
            organization = OTHER
        # An operation may have been one of the configured ones before.
        return organization, operation_of(operation, self._sync)

    def _sort(self, run: Run) -> None:
        key = self._labels((organization_of(run.organization), run.operation))
        silent = self._now - run.said
        if silent > self._sync.orphaned_after:
            self._orphaned[key] += 1
            return
        self.active.setdefault(key, []).append(run)
        self._stale[key] += silent > self._sync.stale_after

    def _expected(self, key: Key) -> int | None:
        facts = self._facts.get(key)
        return next((each.found for each in facts.successes if each.found), None) if facts else None

    # --- families -------------------------------------------------------------------------------------------------

    def _each(self, metric: Metric, value: Callable[[Facts], Value | None]) -> Family:
        return self._by_key(metric, {key: value(facts) for key, facts in self._facts.items()})

    def _by_key(self, metric: Metric, values: Mapping[Key, Value | None]) -> Family:
        return metric.family(((self._sync.name, *key), value) for key, value in values.items())

    def _split(self, metric: Metric, values: Iterable[tuple[Key, Mapping[str, Value | None]]]) -> Family:
        return metric.family(
            ((self._sync.name, *key, label), value) for key, found in values for label, value in found.items()
        )

    def _last_runs(self) -> Iterator[Family]:
        lasts = {key: last for key, facts in self._facts.items() if (last := facts.last)}
        yield self._split(
            metrics.LAST_STATE,
            ((key, {state: int(state == last.state) for state in ENDED}) for key, last in lasts.items()),
        )
        yield self._each(metrics.LAST_START, lambda facts: facts.started)
        yield self._by_key(metrics.LAST_END, {key: last.said for key, last in lasts.items()})
        yield self._each(metrics.LAST_SUCCESS, lambda facts: facts.successes[0].said if facts.successes else None)
        yield self._by_key(metrics.LAST_DURATION, {key: last.duration for key, last in lasts.items()})
        yield self._split(
            metrics.LAST_RECORDS,
            (
                (key, {result: getattr(last.counts, result) for result in RESULTS})
                for key, last in lasts.items()
                if last.counts
            ),
        )
        yield self._each(metrics.FIRST_SEEN, lambda facts: facts.first)

    def _patients(self) -> Iterator[Family]:
        yield self._each(metrics.FOUND, lambda facts: _found(facts.successes, 0))
        yield self._each(metrics.PREVIOUS_FOUND, lambda facts: _found(facts.successes, 1))
        deletions = {key: past for key, facts in self._facts.items() if (past := facts.deletion)}
        yield self._by_key(metrics.LAST_DELETION, {key: past.deletion_seen for key, past in deletions.items()})
        yield self._by_key(metrics.LAST_DELETED, {key: past.deleted for key, past in deletions.items()})
        yield self._by_key(metrics.LAST_DELETED_RATIO, {key: _deleted_ratio(past) for key, past in deletions.items()})

    def _active(self) -> Iterator[Family]:
        keys = {*self.keys, *self.active, *self._orphaned}
        yield self._by_key(metrics.ACTIVE, {key: len(self.active.get(key, ())) for key in keys})
        yield self._by_key(metrics.STALE, {key: self._stale[key] for key in keys})
        yield self._by_key(metrics.ORPHANED, {key: self._orphaned[key] for key in keys})
        yield self._by_key(
            metrics.OLDEST_START,
            {
                key: min((run.started for run in runs if run.started is not None), default=None)
                for key, runs in self.active.items()
                if key[0] != OTHER
            },
        )

    def _progress(self) -> Iterator[Family]:
        def each(metric: Metric, value: Callable[[Run, Point], Value | None]) -> Family:
            return self._by_key(metric, dict(zip(self._newest, starmap(value, self._newest.values()), strict=True)))

        yield each(metrics.PROGRESS, lambda _, point: point.ratio)
        yield each(metrics.REPORTED_PROGRESS, lambda _, point: point.live.reported)
        yield self._split(
            metrics.STEP,
            (
                (key, {step: int(step == point.live.step) for step in STEPS})
                for key, (_, point) in self._newest.items()
                if point.live.step
            ),
        )
        yield each(metrics.TOTAL_RECORDS, lambda _, point: point.live.total)
        yield each(metrics.PROCESSED_RECORDS, lambda _, point: point.live.processed)
        yield each(metrics.PAGE, lambda _, point: point.live.page)
        yield each(metrics.PAGES, lambda _, point: point.live.pages)
        yield each(metrics.STORING, lambda _, point: point.storing_since)
        yield each(metrics.LAST_PROGRESS, lambda _, point: point.changed)

    def _expected_intervals(self) -> Family:
        expected = self._sync.expect_every
        by_operation = expected if isinstance(expected, dict) else {"": expected}
        return metrics.EXPECTED_INTERVAL.family(
            ((self._sync.name, organization, operation), seconds)
            for organization in self._expecting()
            for operation, seconds in by_operation.items()
        )

    def _expecting(self) -> set[str]:
        """Organisations of which runs are expected: all with labels, and those that are configured but unknown yet."""
        named = self._sync.organizations
        wanted = {label_of(each, named) for each in map(organization_of, named.only or ()) if not is_hidden(each)}
        return wanted | {organization for organization, _ in self._facts}

    def _organizations(self) -> Family:
        known = {organization for organization, _ in self._known.facts}
        with_label = len(known & self._known.labelled)
        counts = {"yes": with_label, "no": len(known) - with_label}
        return metrics.ORGANIZATIONS.family(((self._sync.name, name), count) for name, count in counts.items())


def limits(sync: Sync) -> list[Family]:
    """What is configured."""
    seconds = {
        "stale_after": sync.stale_after,
        "orphaned_after": sync.orphaned_after,
        "slow_after": sync.limits.slow_after,
        "stuck_after": sync.limits.stuck_after,
    }
    shares = {
        "deleted": sync.limits.deleted_ratio,
        "found_drop": sync.limits.found_drop_ratio,
        "failed": sync.limits.failed_ratio,
    }
    return [
        metrics.THRESHOLD.family(((sync.name, name), seconds[name]) for name in metrics.THRESHOLDS),
        metrics.SHARE.family(((sync.name, name), shares[name]) for name in metrics.SHARES),
        metrics.DELETED_THRESHOLD.family([((sync.name,), sync.limits.deleted_patients)]),
    ]


def _age(run: Run) -> tuple[float, int, str]:
    return run.at, len(run.id), run.id


def _found(successes: list[Past], index: int) -> int | None:
    return successes[index].found if index < len(successes) else None


def _deleted_ratio(past: Past) -> float | None:
    if not past.deleted or past.found is None:
        return None
    return past.deleted / (past.found + past.deleted)
