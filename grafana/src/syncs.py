"""The dashboard of the domain `syncs`."""

from __future__ import annotations

from collections.abc import Iterable

from grafana.src import collectors, limits, words
from grafana.src.alerts import CALLING, Alerts
from grafana.src.collectors import Collectors
from grafana.src.counters import risen, within
from grafana.src.kit import (
    BARS,
    CARD,
    CARDS,
    DEGRADED,
    DOWN,
    HALF,
    INSERTED,
    NEUTRAL,
    NO_DATA,
    NONE,
    PARTS,
    PLAIN,
    THIRD,
    TWO_THIRDS,
    UNKNOWN,
    UP,
    WARNING,
    WHOLE,
    WIDE_CARD,
    WIDE_NOTE,
    Column,
    Panel,
    Query,
    Row,
    Texts,
    Variable,
    bars,
    from_one,
    graph,
    grid,
    link_to,
    note,
    render,
    stat_panel,
    timeline,
)
from grafana.src.series import Metrics, is_

from rounds.syncs.metrics import DURATION_BOUNDS
from rounds.syncs.states import ENDED, ERROR_CLASSES, FAILED, OTHER, PROBLEMS, SUCCESSFUL

UID = "syncs"
#: Between the parts of a bar's name.
DOT = " \u00b7 "
SYNC = 'sync=~"$sync"'
#: Of the selected organisations and operations.
SELECTED = (SYNC, 'organization=~"$organization"', 'operation=~"$operation"')
OPERATION = (SYNC, 'operation=~"$operation"')
#: Organisations with series of their own. What is counted together has no newest run.
NAMED = (SYNC, f'organization!="{OTHER}"')
#: What tells organisations apart, and what tells their newest runs.
ORGANISATION = "sync, organization"
RUN = "sync, organization, operation"
METRICS = Metrics("rounds_sync_")
series, of, grown, rising = METRICS.series, METRICS.of, METRICS.grown, METRICS.rising
ALERTS = Alerts("syncs", "syncs")
COLLECTORS = Collectors("syncs", "sync")
COLLECTOR = COLLECTORS.matching("$sync")

#: How a run ended. What is neither good nor bad has a colour that no state has.
STATE_COLOURS = {
    "completed": UP,
    "partial": WARNING,
    "failed": DOWN,
    "timeout": DEGRADED,
    "skipped": PARTS[2],
    "cancelled": PARTS[6],
    "other": UNKNOWN,
}
#: The one that is called like a reason has another word.
STATE_WORDS = {state: {"timeout": "timed out"}.get(state, state) for state in STATE_COLOURS}
assert set(STATE_COLOURS) == set(ENDED)  # noqa: S101 - a new state needs a colour
#: The worse, the higher.
_CODES = {"completed": 0, "running": 1, "skipped": 2, "cancelled": 3, "other": 4, "partial": 5, "stale": 6}
_CODES |= {"timeout": 7, "failed": 8}
RUNS: Texts = {
    code: (STATE_WORDS.get(word, word), (STATE_COLOURS | {"running": NEUTRAL, "stale": DEGRADED})[word])
    for word, code in _CODES.items()
}
#: How an organisation stands.
STANDING: Texts = {
    0: ("works", UP),
    1: ("stale", DEGRADED),
    2: ("overdue", DEGRADED),
    3: ("fails", DOWN),
    4: (NO_DATA, UNKNOWN),
}
assert set(words.SYNCS) == set(ERROR_CLASSES)  # noqa: S101 - a new class needs a word
assert set(words.ROWS) == set(PROBLEMS)  # noqa: S101 - a new problem needs a word
#: Up to which duration a run of a clinic of some size is as expected, in seconds.
EXPECTED = {"under 100 patients": 15.0, "100 to 500 patients": 45.0, "500 patients and more": 120.0}
BANDS = {
    "under 5 s": PARTS[8],
    "5 to 15 s": PARTS[2],
    "15 to 45 s": PARTS[0],
    "45 s to 2 min": PARTS[5],
    "2 to 5 min": WARNING,
    "longer": DEGRADED,
}
BAND_BOUNDS = (5.0, 15.0, 45.0, 120.0, 300.0)
assert {*BAND_BOUNDS, *EXPECTED.values()} <= set(DURATION_BOUNDS)  # noqa: S101 - the words go with the bounds

ALL = link_to(UID, "Show all organisations", organization="$__all", operation="$__all")
ONE = link_to(UID, "Show this organisation", organization="${__field.labels.organization}")
ROW = link_to(UID, "Show this organisation", organization="${__data.fields.Organisation}")
READING = link_to("exporter", "Look at the collectors")


def among(label: str, values: Iterable[str]) -> str:
    """The matcher of a label's values."""
    return f'{label}=~"{"|".join(values)}"'


def limit(name: str) -> str:
    """A limit as the exporter has it in its configuration, in seconds: the lowest of the selected syncs."""
    return f"min({series('threshold_seconds', SYNC, is_('threshold', name))})"


def overdue() -> str:
    """Organisations for which SyncOverdue or SyncNeverSucceeded fires: without a success for too long.

    It may be that of any operation, or has to be that of each one which the configuration names. Where none ever
    succeeded, the organisation's first run counts.
    """
    first = f"min by ({ORGANISATION}) ({series('first_seen_timestamp_seconds', *NAMED)})"
    factor = f"{limits.sync_overdue():g}"

    def expected(matcher: str, by: str) -> str:
        return of("expected_interval_seconds", *NAMED, matcher, by=by)

    each, success = expected('operation!=""', RUN), of("last_success_timestamp_seconds", *NAMED, by=RUN)
    anyone = of("last_success_timestamp_seconds", *NAMED, by=ORGANISATION)
    late = f"time() - {success} > {factor} * {each}"
    never = f"time() - {first} > on ({ORGANISATION}) group_right () {factor} * ({each} unless {success})"
    any_operation = expected('operation=""', ORGANISATION)
    late_in_any = f"time() - ({anyone} or {first}) > {factor} * {any_operation}"
    return f"(max by ({ORGANISATION}) ({late} or {never}) or {late_in_any})"


def failing() -> str:
    """Organisations for which SyncLastRunFailed fires."""
    failed = f"{of('last_run_state', *NAMED, among('state', FAILED), by=RUN)} == 1"
    lately = f"{of('last_start_timestamp_seconds', *NAMED, by=RUN)} > time() - {limits.sync_rest()}"
    return f"max by ({ORGANISATION}) ({failed} and {lately})"


def standing() -> str:
    """How each organisation stands: a code of `STANDING`."""
    expected = f"last_over_time({series('expected_interval_seconds', *NAMED)}[1h])"
    parts = (
        f"3 * ({failing()})",
        f"2 + 0 * {overdue()}",
        f"1 + 0 * ({of('runs_stale', *NAMED, by=ORGANISATION)} > 0)",
        f"0 * {of('runs_active', *NAMED, by=ORGANISATION)}",
        f"4 + 0 * max by ({ORGANISATION}) ({expected})",
    )
    return f"({' or '.join(parts)})"


def count_of(state: str) -> str:
    """How many organisations stand so. One that fails may be overdue or have a stale run, too, and counts for each."""
    of_state = {
        "fails": failing(),
        "overdue": overdue(),
        "stale": f"{of('runs_stale', *NAMED, by=ORGANISATION)} > 0",
        "works": f"{standing()} == 0",
        NO_DATA: f"{standing()} == 4",
    }
    return f"count({of_state[state]}) or 0 * count({standing()})"


def ended(*matchers: str) -> str:
    """How each newest run that has ended ended: a code of `RUNS`."""
    states = {state: of("last_run_state", *matchers, is_("state", state), by=RUN) for state in ENDED}
    return " or ".join(f"{_CODES[state]} + 0 * ({held} == 1)" for state, held in states.items())


def over_time() -> str:
    """What each organisation's operation does or last did: a code of `RUNS`."""
    active = (("stale", "runs_stale"), ("running", "runs_active"))
    parts = (f"{_CODES[word]} + 0 * ({of(metric, *SELECTED, by=RUN)} > 0)" for word, metric in active)
    return f"{' or '.join(parts)} or {ended(*SELECTED)}"


def age() -> str:
    """Seconds since the last success of each organisation."""
    return f"time() - {of('last_success_timestamp_seconds', *NAMED, by=ORGANISATION)}"


def speed(*matchers: str) -> str:
    """Patients stored in a second, since the run began to store.

    Not the recorded series, whose window of minutes is longer than most runs and holds those before.
    """
    since = of("run_storing_timestamp_seconds", *matchers, by=RUN)
    return f"({of('run_processed_records', *matchers, by=RUN)} / (time() - {since} > 0))"


def remaining(*matchers: str) -> str:
    """Seconds until a run has stored everything, at this speed."""
    left = f"{of('run_total_records', *matchers, by=RUN)} - {of('run_processed_records', *matchers, by=RUN)}"
    return f"(({left}) / {speed(*matchers)})"


def progress(*, stale: bool) -> Query:
    """A bar for each active run. Its name is put together of labels, since a name is made of them alone.

    `count_values` makes labels of numbers. A run that lacks one is kept by the second half of each join, and leaves its
    place in the name empty.
    """
    runs = of("run_progress_ratio", SYNC, by=RUN)
    silent = f"{of('runs_stale', SYNC, by=RUN)} > 0"
    fetching = of("run_step", SYNC, 'step="fetching_patients"', by=RUN)
    step = f"max by ({RUN}, step) ({series('run_step', SYNC)} == 1)"
    two_words = f'label_replace({step}, "doing", "{DOT}$1 $2", "step", "([a-z]+)_([a-z]+)")'
    left = remaining(SYNC)
    began = f"(time() - {of('run_oldest_start_timestamp_seconds', SYNC, by=RUN)})"

    def number(name: str, words: str, expr: str) -> str:
        # Its own label goes away again with the join.
        counted = f'count_values by ({RUN}) ("number", {expr})'
        return f'label_replace({counted}, "{name}", "{words}", "number", "(.+)")'

    def span(name: str, words: str, expr: str) -> str:
        seconds = number(name, words.replace("$1", "$1 s"), f"ceil({expr} < 90)")
        minutes = number(name, words.replace("$1", "$1 min"), f"ceil(({expr} >= 90) / 60)")
        return f"{seconds} or {minutes}"

    def storing(metric: str) -> str:
        return f"({of(metric, SYNC, by=RUN)} unless on ({RUN}) {fetching} == 1)"

    def paging(metric: str) -> str:
        return f"({of(metric, SYNC, by=RUN)} and on ({RUN}) {fetching} == 1)"

    pieces = {
        "doing": f'label_replace({two_words}, "doing", "{DOT}$1", "step", "([a-z]+)")',
        "done": number("done", f"{DOT}$1", f"{storing('run_processed_records')} and {storing('run_total_records')}"),
        "total": number("total", " of $1", f"{storing('run_total_records')} and {storing('run_processed_records')}"),
        "page": number("page", f"{DOT}page $1", paging("run_page")),
        "pages": number("pages", " of $1", paging("run_pages")),
        "speed": number("speed", f"{DOT}$1/s", f"round({speed(SYNC)}, 0.1)"),
        "since": span("since", f"{DOT}for $1", f"({began} unless {left})"),
        "left": span("left", f"{DOT}$1 left", left),
    }
    if stale:
        chosen = f"({runs} and on ({RUN}) {silent})"
        pieces = {
            "doing": pieces["doing"],
            "since": span("since", f"{DOT}for $1", began),
            "silence": f'label_replace({silent}, "silence", "{DOT}stale", "", "")',
        }
    else:
        chosen = f"({runs} unless on ({RUN}) {silent})"
    joins = "".join(
        f" * on ({RUN}) group_left ({name}) (0 * group by ({RUN}, {name}) ({each}) + 1 or on ({RUN}) 0 * {runs} + 1)"
        for name, each in pieces.items()
    )
    operation = f'label_replace({chosen}{joins}, "what", "{DOT}$1", "operation", "(.*)")'
    names = ", ".join(f'"{name}"' for name in ("organization", "what", *pieces))
    return Query(
        f'sort_desc(label_join({operation}, "run", "", {names}))', "{{run}}", colour=DEGRADED if stale else None
    )


def now() -> Row:
    """What holds at this moment, for all organisations of the selected syncs."""
    late = f"max({age()} and on ({ORGANISATION}) {overdue()})"
    return Row(
        100,
        "Now",
        [
            stat_panel(
                101,
                "Organisations by state",
                "How many organisations get their patients (works), and how many do not. Fails: the newest run "
                "failed or took too long. Overdue: no success for too long. Stale: a run says nothing any more. No "
                "data: expected, but no run is known. One may count twice.",
                [Query(count_of(word), word) for word in ("fails", "overdue", "stale", "works", NO_DATA)],
                CARDS,
                no_value=NO_DATA,
                link=ALL,
                names=True,
                colours=dict(STANDING.values()),
            ),
            stat_panel(
                102,
                "Last success",
                "How long ago a run last brought patients: for any organisation, and for the one that waits "
                "longest. Orange: it waits too long.",
                [
                    Query(f"time() - {of('last_success_timestamp_seconds', SYNC)}", "latest"),
                    Query(f"max({age()}) unless on () {late}", "longest ago"),
                    Query(late, "overdue", colour=DEGRADED),
                ],
                CARD,
                no_value=NONE,
                unit="s",
                decimals=1,
                link=ALL,
                names=True,
            ),
            stat_panel(
                103,
                "Runs without an end",
                "Active: they go on now. Stale: those of them that have said nothing for a while (`stale_after`). "
                "Orphaned: given up, since their program is gone (`orphaned_after`); `rounds syncs reap` closes "
                "them.",
                [Query(f"sum({of(f'runs_{name}', SYNC, by=RUN)})", name) for name in ("active", "stale", "orphaned")],
                WIDE_CARD,
                no_value=NO_DATA,
                steps=from_one(NEUTRAL),
                link=ALL,
                names=True,
                colours={"stale": DEGRADED, "orphaned": DEGRADED},
            ),
            ALERTS.card(104, SYNC, link=ALL, by=f"{RUN}, alertname"),
            bars(
                105,
                "Active runs",
                "Runs that go on now: how far each is, its step, how many patients or pages, how many patients in a "
                "second, and how long the rest takes at this speed. The first half of a bar is for fetching, the "
                "second for storing. Orange: it is stale.",
                [progress(stale=True), progress(stale=False)],
                HALF,
                no_value="No run is active",
                unit="percentunit",
                maximum=1,
                decimals=0,
                name="${__field.labels.run}",
                link=ONE,
            ),
            ALERTS.listed(
                106,
                [
                    Column("Organisation", "organization", label=True, link=ROW),
                    Column("Operation", "operation", label=True),
                ],
                ALERTS.since("organization, operation, alertname, severity", CALLING, SYNC),
            ),
            organisations(),
        ],
    )


def organisations() -> Panel:
    """The newest runs of each organisation."""
    records = {"Processed": "processed", "Stored": "succeeded", "Not stored": "failed"}
    known = of("runs_active", *NAMED, by=RUN)
    return grid(
        107,
        "Organisations",
        "How each organisation stands, and its newest run of each operation that has ended: when, how long it took, "
        "and how many records it worked through and stored. Not stored: read in its log why. Some operations do not "
        "count records of their own.",
        [
            Column("Organisation", "organization", label=True, link=ROW),
            Column("Operation", "operation", label=True),
            Column("Sync", "sync", label=True, width=90),
            Column(
                "State",
                f"0 * {known} + on ({ORGANISATION}) group_left () {standing()}",
                texts=STANDING,
                unit="none",
                width=90,
            ),
            Column("Last run", ended(*NAMED), texts=RUNS, unit="none", width=100),
            Column(
                "Running",
                of("run_progress_ratio", *NAMED, by=RUN),
                unit="percentunit",
                decimals=0,
                steps=((None, NEUTRAL),),
                width=80,
            ),
            Column(
                "Ended",
                f"1000 * {of('last_end_timestamp_seconds', *NAMED, by=RUN)}",
                unit="dateTimeFromNow",
                width=150,
            ),
            Column(
                "Last success",
                f"1000 * {of('last_success_timestamp_seconds', *NAMED, by=RUN)}",
                unit="dateTimeFromNow",
                width=150,
                empty="never",
            ),
            Column("Took", of("last_duration_seconds", *NAMED, by=RUN), unit="s", decimals=1, width=90),
            *(
                Column(
                    title,
                    of("last_run_records", *NAMED, is_("result", result), by=RUN),
                    unit="locale",
                    decimals=0,
                    width=90,
                    steps=((None, PLAIN), (1, WARNING)) if result == "failed" else (),
                )
                for title, result in records.items()
            ),
        ],
        WHOLE,
        rows=f"group by ({RUN}) ({series('runs_active', *NAMED)})",
        no_value="No data: is the exporter up, and is there any run?",
        sort=("State", True),
    )


def history() -> Row:
    """How it came to this, for the selected organisations and operations."""
    window = limits.sync_ratio_window()
    good = grown("runs_total", window, *SELECTED, among("state", SUCCESSFUL), by="operation")
    told = grown("runs_total", window, *SELECTED, among("state", (*SUCCESSFUL, *FAILED)), by="operation")
    bucket = within(series("run_duration_seconds_bucket", *OPERATION), window)
    hours = window.replace("h", " h")
    banded = METRICS.slices(
        "run_duration_seconds", BAND_BOUNDS, f"sum({risen('COUNTER', 'sync, operation, le')})", *OPERATION
    )
    # The limit of SyncRunTooLong is far above all of them: it is drawn once they come near.
    slow = limit("slow_after")
    near = f"{slow} and on () max(histogram_quantile(0.95, sum by (le, operation) ({bucket}))) > {slow} / 3"
    told_apart = "sync, operation, error_class"
    return Row(
        200,
        "History: $organization",
        [
            timeline(
                201,
                "Runs of each organisation",
                "When each organisation was synchronised (blue), and how its newest run had ended in between. Blue "
                "that does not end is a run that hangs. A gap is time in which nothing is known: look at the "
                "exporter.",
                [Query(over_time(), f"{{{{organization}}}}{DOT}{{{{operation}}}}")],
                WHOLE,
                no_value="No data: is the exporter up?",
                texts=RUNS,
                link=ONE,
            ),
            graph(
                202,
                f"Share of good runs, {hours}",
                f"Which share of the runs of the {hours} before brought patients. Below the dashed line an alert "
                "fires, once there were ten runs. Which organisation it is stands under Runs of each organisation.",
                [
                    Query(f"{good} / ({told} > 0)", "{{operation}}"),
                    Query(f"vector({limits.sync_ratio()})", "low", limit=DOWN),
                ],
                HALF,
                no_value="No run has ended in this time",
                unit="percentunit",
                minimum=None,
                soft_minimum=0.8,
                soft_maximum=1,
            ),
            graph(
                203,
                "Runs by state",
                "How many runs ended, and how. Partial: some records were not stored. Skipped: it began too soon "
                "after another one and did nothing. A bar stands for the time since the one before it; its numbers "
                "are exact.",
                [
                    Query(
                        f"sum({rising('runs_total', *SELECTED, is_('state', state), by=f'{RUN}, state')})",
                        STATE_WORDS[state],
                    )
                    for state in ENDED
                ],
                HALF,
                no_value="No run has ended in this time",
                unit="locale",
                style="bars",
                points=BARS,
                soft_maximum=1,
                colours={STATE_WORDS[state]: colour for state, colour in STATE_COLOURS.items()},
                decimals=0,
            ),
            graph(
                204,
                f"Duration of runs by operation, {hours}",
                f"How long at most 95 of 100 runs of the {hours} before took, of all organisations. "
                "Dashed: what is expected of clinics of three sizes, and what is too long.",
                [
                    Query(
                        f"histogram_quantile(0.95, sum by (le, operation) ({bucket}))",
                        "{{operation}}",
                    ),
                    *(Query(f"vector({seconds:g})", size, limit=UNKNOWN) for size, seconds in EXPECTED.items()),
                    Query(near, "too long", limit=DEGRADED),
                ],
                HALF,
                no_value="No run has ended in this time",
                unit="s",
            ),
            graph(
                205,
                "Runs by how long they took",
                "How many runs of all organisations took how long. A clinic of under 100 patients should need up to 15 "
                "seconds, one of under 500 up to 45, a larger one up to two minutes. Ochre and orange are too long for "
                "any.",
                [Query(expr, band) for band, expr in zip(BANDS, banded, strict=True)],
                HALF,
                no_value="No run has ended in this time",
                unit="locale",
                style="bars",
                points=BARS,
                soft_maximum=1,
                colours=BANDS,
                decimals=0,
            ),
            graph(
                206,
                "Failed runs of syncs by reason",
                "How many runs failed, by what went wrong. Log-in refused: the password of an organisation. Too "
                "many requests: synchronise less often. Refused by the database: a patient's data do not fit. No "
                "network, no answer: the way to the other system.",
                [
                    Query(
                        f"sum({rising('failures_total', *OPERATION, is_('error_class', name), by=told_apart)})",
                        word,
                    )
                    for name, word in words.SYNCS.items()
                ],
                HALF,
                no_value="No run has ended in this time",
                unit="locale",
                style="bars",
                points=BARS,
                soft_maximum=1,
                colours=words.colours(words.SYNCS.values()),
                decimals=0,
            ),
            graph(
                207,
                "Records",
                "How many records, such as patients, runs stored, upwards, and could not store, downwards. Some "
                "operations do not count records of their own and are not in it.",
                [
                    Query(
                        f"{sign}sum({rising('records_total', *SELECTED, is_('result', result), by=f'{RUN}, result')})",
                        word,
                    )
                    for sign, result, word in (("", "succeeded", "stored"), ("-", "failed", "not stored"))
                ],
                HALF,
                no_value="No run with records has ended in this time",
                unit="locale",
                style="bars",
                points=BARS,
                minimum=None,
                soft_maximum=1,
                colours={"stored": INSERTED, "not stored": WARNING},
                decimals=0,
            ),
            graph(
                208,
                "Patients found",
                "How many patients the newest good run found. A step downwards is a run that saw a part only, as "
                "when a page was missing: what it did not see, it may have deleted.",
                [Query(of("patients_found", *SELECTED, by=RUN), f"{{{{organization}}}}{DOT}{{{{operation}}}}")],
                HALF,
                no_value="No run has said what it found",
                unit="locale",
                style="steps",
                decimals=0,
                link=ONE,
            ),
            graph(
                209,
                "Patients deleted",
                "How many patients runs deleted, as they say themselves. A tall bar together with fewer patients "
                "found is a loss: stop the synchronisation, and compare with a backup.",
                [
                    Query(
                        f"sum by (organization) ({rising('patients_deleted_total', *SELECTED, by=RUN)})",
                        "{{organization}}",
                    )
                ],
                HALF,
                no_value="No run has said what it deleted",
                unit="locale",
                style="bars",
                points=BARS,
                soft_maximum=1,
                decimals=0,
                link=ONE,
            ),
            ALERTS.over_time(210, "organization, alertname", "{{organization}} {{alertname}}", *SELECTED),
        ],
    )


def detail() -> Row:
    """What is needed to find the cause, for the selected organisations and operations."""
    spans = METRICS.slices(
        "run_duration_seconds", BAND_BOUNDS, f"sum by (operation) ({within('COUNTER', '$__range')})", *OPERATION
    )
    every = grown("runs_total", "$__range", *SELECTED, among("state", (*SUCCESSFUL, *FAILED)), by=RUN)
    brought = grown("runs_total", "$__range", *SELECTED, among("state", SUCCESSFUL), by=RUN)
    configured = f"{series('threshold_seconds', SYNC)} or {series('threshold_ratio', SYNC)}"
    deleted = of("threshold_deleted_patients", SYNC, by="sync")
    found, before = (of(metric, *SELECTED, by=RUN) for metric in ("patients_found", "patients_previous_found"))
    return Row(
        300,
        "Detail: $organization",
        [
            grid(
                301,
                "Active runs in numbers",
                "Each run that goes on now. Says itself: what the program calls its progress, which may be "
                "something else. A last change that is long ago is a run that hangs.",
                [
                    Column("Organisation", "organization", label=True, link=ROW),
                    Column("Operation", "operation", label=True),
                    Column("Sync", "sync", label=True, width=80),
                    Column("Step", "step", label=True, width=140),
                    Column(
                        "Progress",
                        of("run_progress_ratio", *SELECTED, by=RUN),
                        unit="percentunit",
                        decimals=0,
                        width=140,
                        bar=NEUTRAL,
                        full=1,
                    ),
                    Column(
                        "Says itself",
                        of("run_reported_progress_ratio", *SELECTED, by=RUN),
                        unit="percentunit",
                        decimals=0,
                        width=90,
                    ),
                    *(
                        Column(title, of(f"run_{metric}", *SELECTED, by=RUN), unit="locale", decimals=0, width=width)
                        for title, metric, width in (
                            ("Stored", "processed_records", 80),
                            ("Of all", "total_records", 80),
                            ("Page", "page", 65),
                            ("Pages", "pages", 65),
                        )
                    ),
                    Column("Per second", speed(*SELECTED), unit="none", decimals=1, width=90),
                    Column("Left", remaining(*SELECTED), unit="s", decimals=0, width=80),
                    Column(
                        "Began",
                        f"1000 * {of('run_oldest_start_timestamp_seconds', *SELECTED, by=RUN)}",
                        unit="dateTimeFromNow",
                        width=130,
                    ),
                    Column(
                        "Last change",
                        f"1000 * {of('run_last_progress_timestamp_seconds', *SELECTED, by=RUN)}",
                        unit="dateTimeFromNow",
                        width=130,
                    ),
                ],
                WHOLE,
                rows=f"group by ({RUN}, step) ({series('run_step', *SELECTED)} == 1)",
                no_value="No run is active",
                sort=("Progress", True),
            ),
            graph(
                302,
                "Progress",
                "How far each run was. A line that does not rise is a run that waits: for the other system, for the "
                "database, or for ever.",
                [Query(of("run_progress_ratio", *SELECTED, by=RUN), f"{{{{organization}}}}{DOT}{{{{operation}}}}")],
                HALF,
                no_value="No run was active in this time",
                unit="percentunit",
                soft_maximum=1,
                link=ONE,
            ),
            graph(
                303,
                "Patients per second",
                "How fast patients are stored. Slower for all organisations: the database. Slower for one: its own "
                "data.",
                [Query(speed(*SELECTED), f"{{{{organization}}}}{DOT}{{{{operation}}}}")],
                HALF,
                no_value="No run has stored anything in this time",
                unit="none",
                link=ONE,
            ),
            grid(
                304,
                "Runs in the time shown",
                "How many runs of each organisation ended, and how. Good: the share that brought patients, without "
                "skipped and cancelled ones.",
                [
                    Column("Organisation", "organization", label=True, link=ROW),
                    Column("Operation", "operation", label=True),
                    Column("Sync", "sync", label=True, width=90),
                    *(
                        Column(
                            STATE_WORDS[state].capitalize(),
                            grown("runs_total", "$__range", *SELECTED, is_("state", state), by=RUN),
                            unit="locale",
                            decimals=0,
                            steps=((None, PLAIN), (1, colour)) if colour in {WARNING, DOWN, DEGRADED} else (),
                            width=90,
                        )
                        for state, colour in STATE_COLOURS.items()
                        if state != "other"
                    ),
                    Column("Good", f"{brought} / ({every} > 0)", unit="percentunit", decimals=0, width=85),
                ],
                WHOLE,
                no_value="No run in this time",
                sort=("Failed", True),
            ),
            grid(
                305,
                "Duration in the time shown",
                "How many runs of each operation took how long, of all organisations, and how long on average.",
                [
                    Column("Operation", "operation", label=True),
                    Column(
                        "Average",
                        METRICS.average("run_duration_seconds", "$__range", *OPERATION, by="operation"),
                        unit="s",
                        decimals=1,
                        width=90,
                    ),
                    *(
                        Column(band, expr, unit="locale", decimals=0, width=104)
                        for band, expr in zip(BANDS, spans, strict=True)
                    ),
                ],
                TWO_THIRDS,
                no_value="No run has ended in this time",
                sort=("Operation", False),
            ),
            grid(
                307,
                "Limits",
                "From when on there is an alert on each of these, as configured. `docs/syncs.md` says what each means.",
                [
                    Column("Limit", "threshold", label=True),
                    Column("Sync", "sync", label=True, width=75),
                    Column("After", of("threshold_seconds", SYNC, by="sync, threshold"), unit="s", width=80),
                    Column(
                        "Share at most",
                        of("threshold_ratio", SYNC, by="sync, threshold"),
                        unit="percentunit",
                        width=110,
                    ),
                    Column(
                        "Patients",
                        f'label_replace({deleted}, "threshold", "deleted", "", "")',
                        unit="locale",
                        width=75,
                    ),
                ],
                THIRD,
                rows=f"group by (sync, threshold) ({configured})",
                no_value="No data: is the exporter up?",
                sort=("Limit", False),
            ),
            grid(
                306,
                "Patients",
                "How many patients the newest good run found, and the one before it; and the run that last deleted "
                "some: when, how many, and which share of those it knew. From when on there is an alert stands "
                "under Limits.",
                [
                    Column("Organisation", "organization", label=True, link=ROW),
                    Column("Operation", "operation", label=True),
                    Column("Sync", "sync", label=True, width=90),
                    Column("Found", found, unit="locale", decimals=0, width=80),
                    Column("Before", before, unit="locale", decimals=0, width=80),
                    Column("Difference", f"{found} / ({before} > 0) - 1", unit="percentunit", decimals=1, width=90),
                    Column(
                        "Last deletion",
                        f"1000 * {of('last_deletion_timestamp_seconds', *SELECTED, by=RUN)}",
                        unit="dateTimeFromNow",
                        width=150,
                        empty="none seen",
                    ),
                    Column(
                        "Deleted", of("last_deletion_patients", *SELECTED, by=RUN), unit="locale", decimals=0, width=80
                    ),
                    Column(
                        "Of known",
                        of("last_deletion_ratio", *SELECTED, by=RUN),
                        unit="percentunit",
                        decimals=1,
                        width=90,
                    ),
                ],
                WHOLE,
                no_value="No run has said what it found",
                sort=("Organisation", False),
            ),
            graph(
                308,
                "Runs that do not end",
                "Stale: they have said nothing for a while. Orphaned: nor will they; the program was killed, or "
                "cannot write to its log. `rounds syncs reap` closes them.",
                [Query(f"sum({of(f'runs_{name}', *SELECTED, by=RUN)})", name) for name in ("stale", "orphaned")],
                THIRD,
                no_value="No data: is the exporter up?",
                unit="locale",
                style="steps",
                soft_maximum=1,
                colours={"stale": DEGRADED, "orphaned": DEGRADED},
                decimals=0,
            ),
            graph(
                309,
                "Rows that make no sense",
                "How many runs are written down in a way that cannot be right, so that something of them is left "
                "out. Wrong time, ends before it begins: look at the clocks. The others: another version of the "
                "program.",
                [
                    Query(f"sum({rising('rows_rejected_total', SYNC, is_('reason', reason), by='sync, reason')})", word)
                    for reason, word in words.ROWS.items()
                ],
                THIRD,
                no_value="No data: was the log read in this time?",
                unit="locale",
                style="bars",
                points=BARS,
                soft_maximum=1,
                colours=words.colours(words.ROWS.values()),
                decimals=0,
            ),
            grid(
                310,
                "Missing in the log",
                "What is missing in the log of runs, so that reading it is slow or something cannot be shown. "
                "`docs/syncs.md` says how to mend it.",
                [
                    Column("Sync", "sync", label=True, width=110),
                    Column("Problem", "problem", label=True),
                ],
                THIRD,
                rows=of("schema_problem", SYNC, by="sync, problem"),
                no_value="Nothing is missing",
                sort=("Sync", False),
            ),
            timeline(
                311,
                "Reading",
                "Whether Rounds can read each log of runs. While it fails or is overdue, what is shown here is old "
                "or missing; `rounds status` says why.",
                [Query(COLLECTORS.state(COLLECTOR, limits.collector_stale()), "{{sync}}")],
                THIRD,
                no_value="No data: is the exporter up?",
                texts=collectors.STATES,
                link=READING,
            ),
            graph(
                312,
                "Duration of reading",
                "How long reading each log took at most. It is read more often while a run goes on. A slow rise is "
                "a log without an index.",
                [
                    Query(
                        COLLECTORS.of(f"max_over_time(rounds_collector_duration_seconds{{{COLLECTOR}}}[$__interval])"),
                        "{{sync}}",
                    )
                ],
                THIRD,
                no_value="No data: is the exporter up?",
                unit="s",
                points=BARS,
                colour=NEUTRAL,
                link=READING,
            ),
            collectors.failures(
                313,
                "Failed reading by reason",
                "How often the log could not be read, by what went wrong. No answer, no connection: the network, or a "
                "busy database. Log-in refused: an old password. Question refused: a right, a table or a column is "
                "missing.",
                COLLECTOR,
                THIRD,
            ),
            stat_panel(
                314,
                "Organisations shown",
                "How many organisations are shown by themselves, and how many are only counted together: see "
                "`organizations` in the configuration.",
                [
                    Query(f"sum({of('organizations', SYNC, is_('labelled', value), by='sync')})", word)
                    for value, word in (("yes", "by themselves"), ("no", "together"))
                ],
                CARDS,
                no_value=NO_DATA,
                steps=from_one(NEUTRAL),
                link=ALL,
                names=True,
            ),
            note(315, "Which runs", "Where single runs are to be found, one by one.", WHICH_RUNS, WIDE_NOTE),
        ],
    )


#: Metrics count; rows are in the database.
WHICH_RUNS = """\
These panels count runs. Each of them stands in the log: `rounds syncs tail` shows those of now in a terminal, and the
dashboard *Syncs: history* the latest ones, where Grafana may read the log: see *History of syncs* in
`docs/dashboards.md`.
"""


def dashboard() -> str:
    """The dashboard's file."""
    return render(
        UID,
        "Syncs",
        "How far the synchronisation of patients is at the moment, and how it fared. Now shows all organisations of "
        "the selected syncs, History and Detail the selected ones.",
        variables=[
            Variable("sync", "Sync", series("threshold_seconds")),
            Variable("organization", "Organisation", series("runs_total", SYNC)),
            Variable("operation", "Operation", series("runs_total", SYNC, SELECTED[1])),
        ],
        alerts=f'component="syncs",{SYNC}',
        rows=[now(), history(), detail()],
        time_from="now-24h",
        # Runs take seconds to minutes.
        refresh="5s",
    )
