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
    NONE,
    NOT_CONFIGURED,
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
        (PARTS[8], PARTS[2], PARTS[0], PARTS[6], PARTS[1], PARTS[4], PARTS[7], PARTS[5], UNKNOWN),
        strict=True,
    )
)
STATUS_LOOKS = {STATUS_WORDS[status]: colour for status, colour in STATUS_COLOURS.items()}
TYPE_COLOURS = dict(zip(VALIDATION_TYPES, (PARTS[0], PARTS[1], PARTS[4], PARTS[6]), strict=True))
#: Titles of a run. What is invalid is the work that is left.
RESULT_COLOURS = {"valid": PARTS[0], "invalid": WARNING, "queried": PARTS[8]}
SOURCE_WORDS = dict(
    zip(SOURCES, ("pipeline", "bot", "first record", "resolved by itself", "monitor", "somebody else"), strict=True)
)
SOURCE_COLOURS = dict(
    zip(SOURCE_WORDS.values(), (PARTS[0], PARTS[1], PARTS[8], PARTS[4], PARTS[5], PARTS[3]), strict=True)
)
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
                "Whether the program that works through the proposals runs as it should. Fails: its last run logged "
                "an error. Overdue: it should have run again (`run_every`); look at its log, since a run that fails "
                "early may leave no trace here.",
                pipeline(),
            ),
            state_card(
                102,
                "Reading",
                "Whether Rounds can read the pipeline's database. While it fails or is overdue, what is shown here "
                "is old or missing; `rounds status` says why.",
                reading(),
                link=READING,
            ),
            state_card(
                103,
                "Daily summary",
                "Whether the summary of the current date was written after the last run. Overdue: it is older, and "
                "whoever reads it reads what was.",
                summary(),
            ),
            stat_panel(
                104,
                "Business date",
                "The date that the figures of the current date are of: the latest one in the database. At the "
                "weekend that is Friday, and in the morning the day before, until the first run.",
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
                "How many proposals have waited in one status for too long, 48 hours unless `stuck_after` says "
                "otherwise. Where they wait stands under Detail.",
                f"sum({of('proposals_stuck', by='status')})",
                colour=DEGRADED,
                no_value=NO_DATA,
            ),
            count_card(
                112,
                "Unconfirmed",
                "How many proposals the bot, the program that fills in the browser, has processed and nobody has "
                "confirmed. If it takes too long (`unconfirmed_after`), an alert fires.",
                of("proposals_unconfirmed"),
                colour=WARNING,
                no_value=NOT_CONFIGURED,
            ),
            ALERTS.card(105, link=ALL_TYPES),
            stat_panel(
                106,
                "Proposals",
                "How many proposals of the current date have everything, and how many have an open invalid record: "
                "something that is missing or wrong, and that somebody must put right.",
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
                "What was approved, and what the titles are worth, of the valid records of the current date, in reais.",
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
                "How many titles the last run found valid and invalid, and how many proposals it stored. A proposal "
                "has several titles, so that these do not add up.",
                [
                    Query(of("last_run_records", is_("result", result)), word)
                    for result, word in (("valid", "valid titles"), ("invalid", "invalid titles"), ("stored", "stored"))
                ],
                CARDS,
                no_value=NO_DATA,
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
                "How far the proposals of the current date have come, in the words of the pipeline. Other: a status "
                "that fits none of these, or none at all.",
                [Query(of("proposals", is_("status", status)), STATUS_WORDS[status]) for status in STATUSES],
                THIRD,
                no_value="No proposal of the current date",
                colours=STATUS_LOOKS,
            ),
            bars(
                110,
                "Invalid records by type",
                "How many invalid records of each type are open now, of all dates: the work that is left to do.",
                [Query(f"sort_desc({calm})", "{{validation_type}}")],
                THIRD,
                no_value="No data: are the tables there?",
                unit="locale",
                decimals=0,
                steps=((None, UNKNOWN), (0, WARNING)),
            ),
            stat_panel(
                113,
                f"Average time to resolve, {LONG[0]} days",
                "How long it took from finding an invalid record to putting it right, of those put right in the "
                "last seven days. What is still open is not in it: look at the oldest open one, too.",
                [
                    Query(
                        average("invalid_record_resolution_seconds", LONG, by="validation_type"),
                        "{{validation_type}}",
                    )
                ],
                THIRD,
                no_value=NONE,
                unit="s",
                decimals=1,
                link=ONE_TYPE,
                names=True,
            ),
            ALERTS.listed(115, [], ALERTS.since("alertname, severity", CALLING)),
            grid(
                116,
                "Invalid records",
                "Each type: what is open and since when, and what the last 24 hours brought. Flapping: proposals "
                "that became invalid again after they were put right, on the current date.",
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
                no_value="No data: are the tables there?",
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
                "How many titles runs found valid and invalid. A bar stands for the time since the one before it; its "
                "numbers are exact. If the invalid ones become more, something changed at a client or in a rule.",
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
                "How far the proposals of the date that was current then had come. It falls with each new date, which "
                "begins with its first proposals.",
                [Query(of("proposals", is_("status", status)), STATUS_WORDS[status]) for status in STATUSES],
                HALF,
                no_value="No proposal in this time",
                unit="locale",
                style="area",
                colours=STATUS_LOOKS,
                decimals=0,
            ),
            graph(
                203,
                "Messages of the pipeline",
                "How many invalid titles the pipeline itself says it told somebody of. It writes that down also "
                "where a message failed: what really arrived is not known.",
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
                "How many invalid records were open, of all dates. A level that only rises is work that nobody "
                "does; the pipeline closes records of the current date alone.",
                [Query(of("invalid_records", TYPE, by="validation_type"), "{{validation_type}}")],
                HALF,
                no_value="No data: was the database read in this time?",
                unit="locale",
                style="area",
                colours=TYPE_COLOURS,
                decimals=0,
                link=ONE_TYPE,
            ),
            graph(
                205,
                "Detected and resolved",
                "How many invalid records were found, upwards, and put right, downwards. More up than down for "
                "days: the work grows.",
                [
                    Query(f"sum({rising('invalid_records_detected_total', TYPE, by='validation_type')})", "detected"),
                    Query(f"-sum({rising('invalid_records_resolved_total', TYPE, by='validation_type')})", "resolved"),
                ],
                HALF,
                no_value="No data: was the database read in this time?",
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
                "Average time to resolve",
                "How long it took to put invalid records right, of those of the 24 hours before. A gap: there was "
                "none.",
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
                "Duration of runs of the pipeline",
                "How long the last run took, and runs of the 24 hours before on average. Above the dashed line a "
                "run is slow: a busy database, or far more proposals.",
                [
                    Query(of("last_run_duration_seconds"), "last run"),
                    Query(average("run_duration_seconds", "1d"), "average, 24 h"),
                    Query(limit("slow_run_after"), "slow", limit=DEGRADED),
                ],
                HALF,
                no_value="No run in this time",
                unit="s",
                style="steps",
                log=True,
                colours={"last run": PARTS[0], "average, 24 h": PARTS[1]},
            ),
            graph(
                208,
                "Runs",
                "How many runs succeeded and failed; dry runs are only for trying. A run that fails early may leave "
                "no trace: a gap on a working day tells as much as a red bar.",
                [
                    Query(f"sum({rising('runs_total', matchers, by='run_mode, outcome')})", word)
                    for word, (matchers, _) in RUN_WORDS.items()
                ],
                HALF,
                no_value="No run in this time",
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
                "How many proposals moved on into each status. Changes of values alone are not counted.",
                [
                    Query(
                        f"sum({rising('status_changes_total', is_('new_status', status), by='source, new_status')})",
                        STATUS_WORDS[status],
                    )
                    for status in STATUSES
                ],
                HALF,
                no_value="No status change in this time",
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
                "Who moved proposals on. Bot: the program that fills in the browser. Pipeline: its own rules. First "
                "record: what was there before it began to count.",
                [
                    Query(
                        f"sum({rising('status_changes_total', is_('source', source), by='source, new_status')})", word
                    )
                    for source, word in SOURCE_WORDS.items()
                ],
                HALF,
                no_value="No status change in this time",
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
                "How many proposals the bot moved on in the 24 hours before, and how many of its proposals nobody has "
                "confirmed. If only the second rises, the bot works in vain.",
                [
                    Query(grown("status_changes_total", "1d", 'source="BOT"'), "changes, 24 h"),
                    Query(of("proposals_unconfirmed"), "unconfirmed"),
                ],
                THIRD,
                no_value="Not configured: the database knows no bot",
                unit="locale",
                style="steps",
                soft_maximum=1,
                colours={"changes, 24 h": PARTS[1], "unconfirmed": WARNING},
                decimals=0,
            ),
            graph(
                212,
                "Stuck proposals",
                "How many proposals waited too long, by the status in which they waited.",
                [Query(of("proposals_stuck", is_("status", status)), STATUS_WORDS[status]) for status in UNFINISHED],
                THIRD,
                no_value="No data: the history was not read yet",
                unit="locale",
                style="area",
                soft_maximum=1,
                colours=STATUS_LOOKS,
                decimals=0,
            ),
            graph(
                213,
                "Flapping",
                "How many proposals of the current date became invalid again after they were put right. They never "
                "show as open for long: look at the rules, not at the client.",
                [Query(of("invalid_records_flapping", TYPE, by="validation_type"), "{{validation_type}}")],
                THIRD,
                no_value="No data: was the database read in this time?",
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
                "How many invalid records were put right in the time shown, by how long that took.",
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
                "How many proposals of the current date have how many products. Which products these are stands in the "
                "dashboard Proposal pipeline: records.",
                slices("proposal_products", PRODUCT_BOUNDS, (*numbers, f"more than {products[-1]}"), "max(COUNTER)"),
                THIRD,
                no_value="No product of the current date",
                unit="locale",
                decimals=0,
            ),
            bars(
                303,
                "Stuck proposals by status",
                "Where proposals wait that wait too long. Each status has somebody who must move it on.",
                [Query(of("proposals_stuck", is_("status", status)), STATUS_WORDS[status]) for status in UNFINISHED],
                THIRD,
                no_value="No data: the history was not read yet",
                unit="locale",
                decimals=0,
                steps=((None, UNKNOWN), (0, DEGRADED)),
            ),
            grid(
                304,
                "Retention",
                "How many rows each table has, about, and the oldest date in it. An oldest date that does not move "
                "on is a cleanup that does not run; `apr_valid_records` is never cleaned.",
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
                no_value="No data: was the database read?",
                sort=("Table", False),
            ),
            grid(
                305,
                "Limits",
                "From when on there is an alert on each of these, as configured. `docs/apr.md` says what each means.",
                [
                    Column("Limit", "threshold", label=True),
                    Column("After", of("threshold_seconds", by="threshold"), unit="s", width=140),
                ],
                THIRD,
                no_value="No data: is the exporter up?",
                sort=("Limit", False),
            ),
            grid(
                306,
                "Missing in the database",
                "Tables, columns and values that an older database does not have. What needs them is not shown: "
                "`docs/apr.md` says which.",
                [
                    Column("Table", "table", label=True, width=165),
                    Column("Problem", "problem", label=True),
                ],
                THIRD,
                no_value="Nothing is missing",
                sort=("Table", False),
                rows=of("schema_problem", by="table, problem"),
            ),
            *(
                bars(
                    number,
                    title,
                    f"{what} Names are shown only where `labels.{label}` in the configuration asks for them, since "
                    "whoever sees the dashboard sees them. The dashboard of records has them without that.",
                    [Query(f"sort_desc({of(metric, by=label)})", f"{{{{{label}}}}}")],
                    THIRD,
                    no_value="Not configured: names are not asked for",
                    unit="locale",
                    decimals=0,
                )
                for number, title, metric, label, what in (
                    (307, "Top issues by client", "invalid_records_by_cedente", "cedente", "Open invalid records."),
                    (308, "Top issues by manager", "invalid_records_by_gerente", "gerente", "Open invalid records."),
                    (309, "Proposals by product", "proposals_by_produto", "produto", "Proposals of the current date."),
                )
            ),
            note(
                310,
                "Which records",
                "Where single proposals, clients, products and runs are to be found.",
                WHICH_RECORDS,
                NOTE,
            ),
        ],
    )


#: Metrics count; rows are in the database.
WHICH_RECORDS = """\
These panels count records and name no client, manager or product, unless `labels` in the configuration asks for it.
Recent status changes, issues by client and by product, what the bot did, and each run stand in the dashboard
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
