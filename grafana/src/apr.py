"""The dashboard of the domain `apr`."""

from __future__ import annotations

from itertools import pairwise

from grafana.src import limits
from grafana.src.alerts import CALLING, Alerts
from grafana.src.counters import within
from grafana.src.kit import (
    BARS,
    CARDS,
    DATE,
    DEGRADED,
    DOWN,
    HALF,
    INSERTED,
    NEUTRAL,
    NO_DATA,
    NOTE,
    PARTS,
    PLAIN,
    SMALL_CARD,
    THIRD,
    UNKNOWN,
    UP,
    WARNING,
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
    pie,
    render,
    stat_panel,
)
from grafana.src.series import Metrics, is_

from rounds.apr.metrics import (
    FINAL_STATUSES,
    PRODUCT_BOUNDS,
    RESOLUTION_BOUNDS,
    SOURCES,
    STATUSES,
    VALIDATION_TYPES,
)

UID = "apr"
#: The others are final: in them no proposal is stuck.
UNFINISHED = [status for status in STATUSES if status not in FINAL_STATUSES]
#: Of the selected types of validation.
TYPE = 'validation_type=~"$validation_type"'
COLLECTOR = 'collector="apr"'
PRODUCTION = 'run_mode="PRODUCTION"'
LONG = "7d"

#: How statuses are called in the pipeline, in the order in which a proposal has them.
STATUS_WORDS = {
    "aguardando": "Aguardando",
    "em_analise": "Em análise",
    "aprovado": "Aprovado",
    "enviado": "Enviado",
    "assinado": "Assinado",
    "liberado": "Liberado",
    "finalizado": "Finalizado",
    "pago": "Pago",
    "other": "Other",
}
#: Neighbours differ, and the later a status, the darker it is.
STATUS_COLOURS = dict(
    zip(
        STATUSES,
        (PARTS[8], PARTS[2], PARTS[0], PARTS[6], PARTS[1], PARTS[4], PARTS[7], PARTS[5], PARTS[3]),
        strict=True,
    )
)
STATUS_LOOKS = {STATUS_WORDS[status]: colour for status, colour in STATUS_COLOURS.items()}
TYPE_COLOURS = dict(zip(VALIDATION_TYPES, (PARTS[0], PARTS[1], PARTS[4], PARTS[6]), strict=True))
#: Titles of a run. What is invalid is the work that is left.
RESULT_COLOURS = {"valid": PARTS[0], "invalid": WARNING, "queried": PARTS[8], "stored": PARTS[7]}
SOURCE_COLOURS = dict(zip(SOURCES, (PARTS[0], PARTS[1], PARTS[8], PARTS[4], PARTS[5], PARTS[3]), strict=True))
RUN_WORDS = {
    "succeeded": ('run_mode="PRODUCTION",outcome="succeeded"', UP),
    "failed": ('run_mode="PRODUCTION",outcome="failed"', DOWN),
    "dry run": ('run_mode="DRY_RUN"', PARTS[2]),
}
WORKING: Texts = {0: ("works", UP), 1: ("overdue", DEGRADED), 2: ("fails", DOWN)}
ALERTS = Alerts("apr", "the pipeline")

ALL_TYPES = link_to(UID, "Show all types", validation_type="$__all")
ONE_TYPE = link_to(UID, "Show this type", validation_type="${__field.labels.validation_type}")
ROW_TYPE = link_to(UID, "Show this type", validation_type="${__data.fields.Type}")
READING = link_to("exporter", "Look at the collector", collector="apr")


METRICS = Metrics("rounds_apr_")
series, of, grown, rising, average = METRICS.series, METRICS.of, METRICS.grown, METRICS.rising, METRICS.average


def limit(name: str) -> str:
    """A limit as the exporter has it in its configuration, in seconds."""
    return of("threshold_seconds", is_("threshold", name))


def pipeline() -> str:
    """Whether the pipeline's own runs are as they should be: a code of `WORKING`.

    Overdue is told by the working time since the last run, counted in steps of ten minutes: a Monday begins without it.
    """
    failed = of("last_run_failed")
    since = f"vector(time()) > {of('last_run_timestamp_seconds', PRODUCTION).removesuffix(')')} @ end())"
    worked = f"600 * count_over_time(({of('working_day')} == 1 and ({since}))[8d:10m])"
    return f"({failed} == 1) + 1 or 0 * ({worked} > {limit('run_every')}) + 1 or 0 * {failed}"


def reading() -> str:
    """Whether the exporter reads the tables as it should: a code of `WORKING`."""
    success = f"min(rounds_collector_success{{{COLLECTOR}}})"
    interval = "rounds_collector_interval_seconds"
    stale = limits.collector_stale().replace(interval, f"{interval}{{{COLLECTOR}}}")
    since = f"time() - rounds_collector_last_success_timestamp_seconds{{{COLLECTOR}}}"
    return f"({success} == 0) + 2 or 0 * max({since} > {stale}) + 1 or 0 * {success}"


def summary() -> str:
    """Whether the daily summary is younger than the last run: a code of `WORKING`."""
    updated, run = of("summary_updated_timestamp_seconds"), of("last_run_timestamp_seconds", PRODUCTION)
    return f"0 * ({updated} < {run}) + 1 or 0 * {updated}"


def state_card(number: int, title: str, text: str, expr: str, *, link: tuple[str, str] = ALL_TYPES) -> Panel:
    """One word."""
    return stat_panel(
        number,
        title,
        text,
        [Query(expr)],
        SMALL_CARD,
        no_value=NO_DATA,
        unit="none",
        texts=WORKING,
        steps=((None, UNKNOWN),),
        link=link,
    )


def count_card(number: int, title: str, text: str, expr: str, *, colour: str, no_value: str) -> Panel:
    """A count of something bad."""
    return stat_panel(
        number,
        title,
        text,
        [Query(expr)],
        SMALL_CARD,
        no_value=no_value,
        unit="locale",
        decimals=0,
        steps=from_one(colour),
        link=ALL_TYPES,
    )


def now() -> Row:
    """What holds at this moment, for all types."""
    calm = of("invalid_records", by="validation_type")
    return Row(
        100,
        "Now",
        [
            state_card(
                101,
                "Pipeline",
                "Whether the pipeline runs as it should. Fails: the last production run logged an error. Overdue: on "
                "working days there was none for longer than `run_every`; look at the program's log, since a run that "
                "fails early may leave no row.",
                pipeline(),
            ),
            state_card(
                102,
                "Reading",
                "Whether the exporter reads the tables. While it fails or is overdue, what is shown here is old or "
                "missing; `rounds status` says why.",
                reading(),
                link=READING,
            ),
            state_card(
                103,
                "Daily summary",
                "Whether the summary of the current date was written after the last production run. Overdue: it is "
                "older, and whoever reads it reads what was.",
                summary(),
            ),
            stat_panel(
                104,
                "Business date",
                "The latest date in the tables, which all figures of the current date are of. At the weekend it is "
                "Friday, and before the first run of a morning the day before.",
                # At noon, so that a browser in another zone shows the same day.
                [Query(f"1000 * ({of('business_date_timestamp_seconds')} + 43200)")],
                SMALL_CARD,
                no_value=NO_DATA,
                unit=DATE,
                link=ALL_TYPES,
            ),
            count_card(
                111,
                "Stuck",
                "Proposals that keep a status which is not final for longer than `stuck_after`, 48 hours by default. "
                "Which status it is stands under Detail.",
                f"sum({of('proposals_stuck', by='status')})",
                colour=DEGRADED,
                no_value="not known yet",
            ),
            count_card(
                112,
                "Unconfirmed",
                "Proposals that the bot has processed and nobody confirmed. Those that are older than "
                "`unconfirmed_after` are told by an alert.",
                of("proposals_unconfirmed"),
                colour=WARNING,
                no_value="no bot",
            ),
            ALERTS.card(105, link=ALL_TYPES),
            stat_panel(
                106,
                "Proposals",
                "Proposals of the current date: without, and with an open invalid record. One that the pipeline stored "
                "as valid although a record of it is open counts as invalid.",
                [Query(of(f"proposals_{name}"), name) for name in ("valid", "invalid")],
                CARDS,
                no_value=NO_DATA,
                unit="locale",
                decimals=0,
                steps=from_one(NEUTRAL),
                link=ALL_TYPES,
                names=True,
                colours={"invalid": WARNING},
            ),
            stat_panel(
                107,
                "Value",
                "Approved value, and value of the titles, of the valid records of the current date.",
                [Query(of("approved_value_brl"), "approved"), Query(of("title_value_brl"), "titles")],
                CARDS,
                no_value=NO_DATA,
                unit="currencyBRL",
                decimals=1,
                link=ALL_TYPES,
                names=True,
            ),
            stat_panel(
                108,
                "Last run",
                "Titles that the last production run found valid and invalid, and proposals that it stored. Titles and "
                "proposals are not to be put into one ratio.",
                [
                    Query(of("last_run_records", is_("result", result)), word)
                    for result, word in (("valid", "valid titles"), ("invalid", "invalid titles"), ("stored", "stored"))
                ],
                CARDS,
                no_value="No run was logged",
                unit="locale",
                decimals=0,
                steps=from_one(NEUTRAL),
                link=ALL_TYPES,
                names=True,
                colours={"invalid titles": WARNING},
            ),
            pie(
                109,
                "Status overview",
                "Proposals of the current date by status, that of the row that was changed last. Other: a status that "
                "fits none of these, or none at all.",
                [Query(of("proposals", is_("status", status)), STATUS_WORDS[status]) for status in STATUSES],
                THIRD,
                no_value="No proposal of the current date",
                colours=STATUS_LOOKS,
            ),
            bars(
                110,
                "Invalid records by type",
                "Invalid records that are open now, of all dates.",
                [Query(f"sort_desc({calm})", "{{validation_type}}")],
                THIRD,
                no_value="Nothing is known of invalid records",
                unit="locale",
                decimals=0,
                steps=((None, UNKNOWN), (0, WARNING)),
            ),
            stat_panel(
                113,
                f"Average resolution time, {LONG[0]} days",
                "Time from the detection of an invalid record to its resolution, of those that were resolved in the "
                "last seven days. Records that are still open are not in it: look at the oldest open one, too.",
                [
                    Query(
                        average("invalid_record_resolution_seconds", LONG, by="validation_type"),
                        "{{validation_type}}",
                    )
                ],
                THIRD,
                no_value="Nothing was resolved",
                unit="s",
                decimals=1,
                link=ONE_TYPE,
                names=True,
            ),
            ALERTS.listed(115, [], ALERTS.since("alertname, severity", CALLING)),
            grid(
                116,
                "Invalid records",
                "Each type: what is open and since when, what the last 24 hours brought, and what flaps. Flapping: the "
                "same proposal had such a record resolved twice or more on the current date.",
                [
                    Column("Type", "validation_type", label=True, link=ROW_TYPE),
                    Column("Open", calm, unit="locale", decimals=0, width=70),
                    Column(
                        "Oldest",
                        f"1000 * {of('invalid_record_oldest_timestamp_seconds', by='validation_type')}",
                        unit="dateTimeFromNow",
                        width=130,
                    ),
                    *(
                        Column(
                            title,
                            grown(counter, "1d", by="validation_type"),
                            unit="locale",
                            decimals=0,
                            width=115,
                        )
                        for title, counter in (
                            ("Detected, 24 h", "invalid_records_detected_total"),
                            ("Resolved, 24 h", "invalid_records_resolved_total"),
                        )
                    ),
                    Column(
                        "Flapping",
                        of("invalid_records_flapping", by="validation_type"),
                        unit="locale",
                        decimals=0,
                        steps=((None, PLAIN), (1, DEGRADED)),
                        width=80,
                    ),
                ],
                HALF,
                no_value="Nothing is known of invalid records",
                sort=("Open", True),
            ),
        ],
    )


def history() -> Row:
    """How it came to this."""
    return Row(
        200,
        "History: $validation_type",
        [
            graph(
                201,
                "Processing trend",
                "Titles that production runs found valid and invalid. A bar stands for the time since the one before "
                "it; its numbers are exact. A growing part of invalid ones is a change at a client or in a rule.",
                [
                    Query(f"sum({rising('records_processed_total', is_('result', result), by='result')})", result)
                    for result in ("valid", "invalid")
                ],
                HALF,
                no_value="No run in this time",
                unit="locale",
                style="bars",
                points=BARS,
                soft_maximum=1,
                colours=RESULT_COLOURS,
                decimals=0,
            ),
            graph(
                202,
                "Proposals by status",
                "Proposals of the date that was current then. It falls to the first proposals of the day with each "
                "new date.",
                [Query(of("proposals", is_("status", status)), STATUS_WORDS[status]) for status in STATUSES],
                HALF,
                no_value="No proposal is known in this time",
                unit="locale",
                style="area",
                colours=STATUS_LOOKS,
                decimals=0,
            ),
            graph(
                203,
                "Alert volume",
                "Alerts on invalid titles of the selected types, as the pipeline logged them. It logs the number of "
                "titles, also where a message was skipped or failed: what really arrived is not known.",
                [Query(rising("alerts_sent_total", TYPE, by="validation_type"), "{{validation_type}}")],
                HALF,
                no_value="No run in this time",
                unit="locale",
                style="bars",
                points=BARS,
                soft_maximum=1,
                colours=TYPE_COLOURS,
                decimals=0,
                link=ONE_TYPE,
            ),
            graph(
                204,
                "Open invalid records",
                "Of the selected types, of all dates. A level that only rises is work that nobody does; the pipeline "
                "resolves records of the current date alone.",
                [Query(of("invalid_records", TYPE, by="validation_type"), "{{validation_type}}")],
                HALF,
                no_value="Nothing is known of invalid records in this time",
                unit="locale",
                style="area",
                colours=TYPE_COLOURS,
                decimals=0,
                link=ONE_TYPE,
            ),
            graph(
                205,
                "Detected and resolved",
                "Invalid records of the selected types that were detected, upwards, and resolved, downwards.",
                [
                    Query(f"sum({rising('invalid_records_detected_total', TYPE, by='validation_type')})", "detected"),
                    Query(f"-sum({rising('invalid_records_resolved_total', TYPE, by='validation_type')})", "resolved"),
                ],
                HALF,
                no_value="Nothing is known of invalid records in this time",
                unit="locale",
                style="bars",
                points=BARS,
                minimum=None,
                soft_maximum=1,
                colours={"detected": WARNING, "resolved": INSERTED},
                decimals=0,
            ),
            graph(
                206,
                "Average resolution time",
                "Of the records that were resolved in the 24 hours before. No line: none was.",
                [
                    Query(
                        average("invalid_record_resolution_seconds", "1d", TYPE, by="validation_type"),
                        "{{validation_type}}",
                    )
                ],
                HALF,
                no_value="Nothing was resolved in this time",
                unit="s",
                decimals=1,
                colours=TYPE_COLOURS,
                link=ONE_TYPE,
            ),
            graph(
                207,
                "Execution performance",
                "Duration of the last production run, and the average of the 24 hours before, against the limit from "
                "which a run is slow. The log has whole seconds.",
                [
                    Query(of("last_run_duration_seconds"), "last run"),
                    Query(average("run_duration_seconds", "1d"), "average, 24 h"),
                    Query(limit("slow_run_after"), "slow", limit=DEGRADED),
                ],
                HALF,
                no_value="No run is known in this time",
                unit="s",
                style="steps",
                log=True,
                colours={"last run": PARTS[0], "average, 24 h": PARTS[1]},
            ),
            graph(
                208,
                "Runs",
                "Runs that were logged: production ones by outcome, and dry runs. A run that fails early may leave no "
                "row: a gap on a working day is as telling as a red bar.",
                [
                    Query(f"sum({rising('runs_total', matchers, by='run_mode, outcome')})", word)
                    for word, (matchers, _) in RUN_WORDS.items()
                ],
                HALF,
                no_value="No run is known in this time",
                unit="locale",
                style="bars",
                points=BARS,
                soft_maximum=1,
                colours={word: colour for word, (_, colour) in RUN_WORDS.items()},
                decimals=0,
            ),
            graph(
                209,
                "Status changes",
                "Proposals that went into each status. Rows in which only values changed are not counted.",
                [
                    Query(
                        f"sum({rising('status_changes_total', is_('new_status', status), by='source, new_status')})",
                        STATUS_WORDS[status],
                    )
                    for status in STATUSES
                ],
                HALF,
                no_value="No status change is known in this time",
                unit="locale",
                style="bars",
                points=BARS,
                soft_maximum=1,
                colours=STATUS_LOOKS,
                decimals=0,
            ),
            graph(
                210,
                "Status changes by source",
                "Who changed them. BOT is the browser bot, SYSTEM the pipeline, BACKFILL a first record for what was "
                "there before.",
                [
                    Query(
                        f"sum({rising('status_changes_total', is_('source', source), by='source, new_status')})", source
                    )
                    for source in SOURCES
                ],
                HALF,
                no_value="No status change is known in this time",
                unit="locale",
                style="bars",
                points=BARS,
                soft_maximum=1,
                colours=SOURCE_COLOURS,
                decimals=0,
            ),
            graph(
                211,
                "Bot activity",
                "Status changes by the bot in the 24 hours before, and what it processed and nobody has confirmed. "
                "The second rising while the first does not is a bot that works in vain.",
                [
                    Query(grown("status_changes_total", "1d", 'source="BOT"'), "changes, 24 h"),
                    Query(of("proposals_unconfirmed"), "unconfirmed"),
                ],
                THIRD,
                no_value="Nothing is known of the bot in this time",
                unit="locale",
                style="steps",
                soft_maximum=1,
                colours={"changes, 24 h": PARTS[1], "unconfirmed": WARNING},
                decimals=0,
            ),
            graph(
                212,
                "Stuck proposals",
                "By the status in which they are stuck.",
                [Query(of("proposals_stuck", is_("status", status)), STATUS_WORDS[status]) for status in UNFINISHED],
                THIRD,
                no_value="The history of statuses was not read yet",
                unit="locale",
                style="area",
                soft_maximum=1,
                colours=STATUS_LOOKS,
                decimals=0,
            ),
            graph(
                213,
                "Flapping",
                "Proposals of the current date of which a record of the selected types was resolved twice or more: "
                "they become invalid again and again, and never show as open.",
                [Query(of("invalid_records_flapping", TYPE, by="validation_type"), "{{validation_type}}")],
                THIRD,
                no_value="Nothing is known of invalid records in this time",
                unit="locale",
                style="area",
                soft_maximum=1,
                colours=TYPE_COLOURS,
                decimals=0,
                link=ONE_TYPE,
            ),
            ALERTS.over_time(214, "alertname", "{{alertname}}"),
        ],
    )


def slices(
    histogram: str, bounds: tuple[float, ...], words: tuple[str, ...], counts: str, *matchers: str
) -> list[Query]:
    """How many of a histogram's observations are between its bounds, and above the last one."""
    found = METRICS.slices(histogram, bounds, counts, *matchers)
    return [Query(expr, word) for expr, word in zip(found, words, strict=True)]


def detail() -> Row:
    """What is needed to find the cause."""
    spans = ("1 h", "4 h", "8 h", "1 day", "2 days", "7 days")
    shown = (3600.0, 14_400.0, 28_800.0, 86_400.0, 172_800.0, 604_800.0)
    assert set(shown) <= set(RESOLUTION_BOUNDS)  # noqa: S101 - the words go with the bounds
    products = [f"{bound:.0f}" for bound in PRODUCT_BOUNDS]
    numbers = tuple(
        high if int(high) - int(low) == 1 else f"{int(low) + 1} to {high}" for low, high in pairwise(["0", *products])
    )
    in_range = f"sum({within('COUNTER', '$__range')})"
    return Row(
        300,
        "Detail: $validation_type",
        [
            bars(
                301,
                "Time to resolution",
                "Records of the selected types that were resolved in the time shown, by how long it took.",
                slices(
                    "invalid_record_resolution_seconds",
                    shown,
                    (*(f"up to {span}" for span in spans), "longer"),
                    in_range,
                    TYPE,
                ),
                THIRD,
                no_value="Nothing was resolved in this time",
                unit="locale",
                decimals=0,
            ),
            bars(
                302,
                "Products per proposal",
                "Proposals of the current date by how many products they have. Which products these are stands in the "
                "dashboard of records.",
                slices("proposal_products", PRODUCT_BOUNDS, (*numbers, f"more than {products[-1]}"), "max(COUNTER)"),
                THIRD,
                no_value="No product is known of the current date",
                unit="locale",
                decimals=0,
            ),
            bars(
                303,
                "Stuck proposals by status",
                "Where they wait. Each status has somebody who must move it on.",
                [Query(of("proposals_stuck", is_("status", status)), STATUS_WORDS[status]) for status in UNFINISHED],
                THIRD,
                no_value="The history of statuses was not read yet",
                unit="locale",
                decimals=0,
                steps=((None, UNKNOWN), (0, DEGRADED)),
            ),
            grid(
                304,
                "Retention",
                "Rows of each table, as far as the database knows without counting, and the oldest date in it. An "
                "oldest date that does not move on is a cleanup that does not run; apr_valid_records is never cleaned.",
                [
                    Column("Table", "table", label=True),
                    Column("Rows", of("table_rows", by="table"), unit="locale", decimals=0, width=110),
                    Column(
                        "Oldest date",
                        f"1000 * ({of('table_oldest_timestamp_seconds', by='table')} + 43200)",
                        unit=DATE,
                        width=120,
                    ),
                    Column(
                        "Age",
                        f"time() - {of('table_oldest_timestamp_seconds', by='table')}",
                        unit="s",
                        decimals=0,
                        width=110,
                    ),
                ],
                THIRD,
                no_value="No table is known",
                sort=("Table", False),
            ),
            grid(
                305,
                "Limits",
                "From when on each of these is told, as configured in the exporter. The alerts use the same.",
                [
                    Column("Limit", "threshold", label=True),
                    Column("After", of("threshold_seconds", by="threshold"), unit="s", width=140),
                ],
                THIRD,
                no_value="No limit is known",
                sort=("Limit", False),
            ),
            grid(
                306,
                "What the database lacks",
                "Tables, columns and values that an older database does not have. What needs them is not exported: "
                "`docs/apr.md` says which.",
                [
                    Column("Table", "table", label=True, width=165),
                    Column("Problem", "problem", label=True),
                ],
                THIRD,
                no_value="It lacks nothing",
                sort=("Table", False),
                rows=of("schema_problem", by="table, problem"),
            ),
            *(
                bars(
                    number,
                    title,
                    f"{what} The names are labels only where `labels.{label}` in the configuration asks for them; the "
                    "dashboard of records has them without that.",
                    [Query(f"sort_desc({of(metric, by=label)})", f"{{{{{label}}}}}")],
                    THIRD,
                    no_value="Not asked for",
                    unit="locale",
                    decimals=0,
                )
                for number, title, metric, label, what in (
                    (307, "Top issues by client", "invalid_records_by_cedente", "cedente", "Open invalid records."),
                    (308, "Top issues by manager", "invalid_records_by_gerente", "gerente", "Open invalid records."),
                    (309, "Proposals by product", "proposals_by_produto", "produto", "Proposals of the current date."),
                )
            ),
            note(310, "Which records", "Where single proposals, clients, products and runs are.", WHICH_RECORDS, NOTE),
        ],
    )


#: Metrics count; rows are in the database.
WHICH_RECORDS = """\
Metrics count records and name no client, manager or product, unless `labels` in the configuration asks for it. Recent
status changes, issues by client and by product, what the bot did, and each run stand in the dashboard
*Proposal pipeline: records*, which asks the database itself: see *Records of the pipeline* in `docs/dashboards.md`.
"""


def dashboard() -> str:
    """The dashboard's file."""
    return render(
        UID,
        "Proposal pipeline",
        "How far proposals have come, which records are invalid, and whether the pipeline runs. Now shows all types of "
        "validation, History and Detail the selected ones.",
        variables=[Variable("validation_type", "Validation type", "rounds_apr_invalid_records")],
        alerts='component="apr"',
        rows=[now(), history(), detail()],
        time_from="now-7d",
    )
