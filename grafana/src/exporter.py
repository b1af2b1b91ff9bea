"""The dashboard of the exporter itself, and of those that carry its alerts: Prometheus and Alertmanager."""

from __future__ import annotations

from grafana.src import collectors
from grafana.src.alerts import CALLING, Alerts
from grafana.src.counters import risen
from grafana.src.exporter_delivery import delivery, process
from grafana.src.exporter_queries import (
    ALL_COLLECTORS,
    COLLECTOR,
    COLLECTOR_SHADES,
    DOMAIN_COLOURS,
    INTERVAL,
    JOB,
    LOADED,
    ROW_COLLECTOR,
    SERVICES,
    SINCE_SUCCESS,
    TABLES,
    UID,
    UP_OR_DOWN,
    WORKS,
    of_collector,
    stale_after,
)
from grafana.src.kit import (
    BARS,
    CARD,
    DEGRADED,
    DOWN,
    HALF,
    NEUTRAL,
    NO_DATA,
    NOT_CONFIGURED,
    PARTS,
    PLAIN,
    SMALL_CARD,
    THIRD,
    UNKNOWN,
    UP,
    WHOLE,
    Column,
    Mark,
    Panel,
    Query,
    Row,
    Texts,
    Variable,
    from_one,
    graph,
    grid,
    render,
    stat_panel,
    timeline,
)

ALERTS = Alerts("exporter", "Rounds itself")
#: What an alert on the exporter may be about.
SUBJECTS = ("collector", "source", "integration", "rule_group")

#: Without any source, none is down.
SOURCES_DOWN = f"count(rounds_source_up{{{JOB}}} == 0) or 0 * count(up{{{JOB}}})"
QUERIES = f"rounds_source_queries_total{{{JOB}}}"


def state_card(
    number: int,
    title: str,
    text: str,
    expr: str,
    *,
    texts: Texts = UP_OR_DOWN,
    no_value: str = NO_DATA,
    link: tuple[str, str] = ALL_COLLECTORS,
) -> Panel:
    """One word."""
    return stat_panel(
        number,
        title,
        text,
        [Query(expr)],
        SMALL_CARD,
        no_value=no_value,
        unit="none",
        texts=texts,
        steps=((None, UNKNOWN),),
        link=link,
    )


def count_card(number: int, title: str, text: str, expr: str, *, small: bool = False, colour: str = DOWN) -> Panel:
    """A count, of something bad unless its colour says otherwise."""
    return stat_panel(
        number,
        title,
        text,
        [Query(expr)],
        SMALL_CARD if small else CARD,
        no_value=NO_DATA,
        unit="locale",
        decimals=0,
        steps=from_one(colour),
        link=ALL_COLLECTORS,
    )


def now() -> Row:
    """What holds at this moment."""
    failing = f"sum(1 - {of_collector('rounds_collector_success')})"
    stale = f"count(max by (collector) ({SINCE_SUCCESS}) > {stale_after()}) or 0 * count({stale_after()})"
    return Row(
        100,
        "Now",
        [
            state_card(
                101,
                "Exporter",
                "Whether the exporter, the program that collects everything shown here, answers. While it is down, "
                "nothing is known of what it watches: look at its log and start it again.",
                f"min(up{{{JOB}}})",
                link=SERVICES,
            ),
            state_card(
                104,
                "Configuration",
                "Whether the last attempt to load the configuration succeeded. Refused: the one before stays in use. "
                "`rounds check-config` says what is wrong.",
                f"min(rounds_config_last_reload_successful{{{JOB}}})",
                texts=LOADED,
            ),
            state_card(
                109,
                "Ledger",
                "The ledger is the memory of Rounds: counts that must last, and what is known of tables. While it is "
                "down, nothing that needs it is collected. Look at the disk or the database that holds it.",
                f"min(rounds_ledger_up{{{JOB}}})",
                no_value=NOT_CONFIGURED,
                link=TABLES,
            ),
            count_card(
                102,
                "Failing",
                "How many collectors failed when they last asked. A collector asks one source at fixed times. `rounds "
                "status` says why one fails.",
                failing,
                small=True,
            ),
            count_card(
                103,
                "Overdue",
                "How many collectors have not succeeded for so long that an alert fires. What they told is old, or not "
                "shown any more.",
                stale,
                small=True,
                colour=DEGRADED,
            ),
            count_card(
                108,
                "Sources down",
                "How many databases and files could not be used when a collector last tried. Everything that is read "
                "from them fails, too.",
                SOURCES_DOWN,
                small=True,
            ),
            ALERTS.card(110, link=ALL_COLLECTORS),
            count_card(
                105,
                "Messages lost",
                "Messages about alerts that could not be sent in the last 10 minutes. Often a password was changed, or "
                "the receiver takes no more. The log of Alertmanager, which sends them, names the cause.",
                "sum(increase(alertmanager_notifications_failed_total[10m]))",
            ),
            count_card(
                106,
                "Rules failed",
                "How often a rule that decides on alerts could not be worked out in the last 10 minutes. Its alerts "
                "may not fire. Prometheus shows the error on its page Rules.",
                "sum(increase(prometheus_rule_evaluation_failures_total[10m]))",
            ),
            count_card(
                111,
                "Rules left out",
                "How often Prometheus had no time for a group of rules in the last 10 minutes, so that alerts come "
                "late. It needs a faster computer, or less to do.",
                "sum(increase(prometheus_rule_group_iterations_missed_total[10m]))",
                colour=DEGRADED,
            ),
            count_card(
                112,
                "Damaged ledgers",
                "Ledgers that were found damaged and moved aside. What had changed before that is not known. Delete "
                "the files once nobody needs them.",
                f"sum(rounds_ledger_quarantined_files{{{JOB}}}) or 0 * count(up{{{JOB}}})",
                colour=DEGRADED,
            ),
            count_card(
                113,
                "Questions, last hour",
                "How many questions all sources were asked in the last hour. A data warehouse that is paid by use "
                "costs by these; the table Sources says who was asked how much.",
                f"sum(round(increase({QUERIES}[1h]))) or 0 * count(up{{{JOB}}})",
                colour=NEUTRAL,
            ),
            count_card(
                114,
                "Values exported",
                "How many values Rounds tells Prometheus each time it is asked. More values need more memory and disk.",
                f"sum(scrape_samples_scraped{{{JOB}}})",
                colour=NEUTRAL,
            ),
            ALERTS.listed(
                115,
                [Column("About", "subject", label=True)],
                ALERTS.since_about("alertname, severity", SUBJECTS, CALLING),
            ),
            sources(),
            grid(
                107,
                "Collectors",
                "Each collector's last run. Since success must stay below Overdue after. Where a run takes nearly as "
                "long as its interval, make the interval longer. `rounds status` tells the errors.",
                [
                    Column("Collector", "collector", label=True, link=ROW_COLLECTOR),
                    Column("Last run", of_collector("rounds_collector_success"), unit="none", texts=WORKS, width=90),
                    Column("Took", of_collector("rounds_collector_duration_seconds"), unit="s", decimals=1, width=90),
                    Column("Every", of_collector(INTERVAL), unit="s", width=90),
                    Column(
                        "Of interval",
                        f"{of_collector('rounds_collector_duration_seconds')} / {of_collector(INTERVAL)}",
                        unit="percentunit",
                        decimals=1,
                        steps=((None, UP), (0.8, DEGRADED), (1, DOWN)),
                        width=110,
                    ),
                    Column("Since success", f"max by (collector) ({SINCE_SUCCESS})", unit="s", decimals=1, width=140),
                    Column("Overdue after", stale_after(), unit="s", width=120),
                    Column("Values", of_collector("rounds_collector_samples"), unit="locale", decimals=0, width=90),
                    Column("Runs", of_collector("rounds_collector_runs_total"), unit="locale", decimals=0, width=90),
                    Column(
                        "Failed",
                        f"sum by (collector) (rounds_collector_failures_total{{{COLLECTOR}}})",
                        unit="locale",
                        decimals=0,
                        steps=((None, PLAIN), (1, DEGRADED)),
                        width=90,
                    ),
                    Column(
                        "Skipped",
                        of_collector("rounds_collector_skipped_total"),
                        unit="locale",
                        decimals=0,
                        steps=((None, PLAIN), (1, DEGRADED)),
                        width=90,
                    ),
                ],
                WHOLE,
                no_value="No data: is the exporter up?",
                sort=("Since success", True),
            ),
        ],
    )


def sources() -> Panel:
    """What each source was asked, which is what it costs."""
    return grid(
        310,
        "Sources",
        "Each database or file that is asked: whether it could be used when it was last tried, and how many questions "
        "it got. A data warehouse that is paid by use costs by these: give its tables longer intervals.",
        [
            Column("Source", "source", label=True),
            Column("State", f"min by (source) (rounds_source_up{{{JOB}}})", texts=UP_OR_DOWN, unit="none", width=90),
            *(
                Column(
                    f"Questions, {words}",
                    f"max by (source) (round(increase({QUERIES}[{window}])))",
                    unit="locale",
                    decimals=0,
                    width=140,
                )
                for words, window in (("1 h", "1h"), ("24 h", "1d"))
            ),
        ],
        HALF,
        no_value="Not configured: no source has been used",
        sort=("Source", False),
    )


def history() -> Row:
    """How collecting went."""
    scans = 'rounds_table_scans_total{result="%s"}'
    return Row(
        200,
        "History: $collector",
        [
            timeline(
                201,
                "Exporter and collectors",
                "Whether the exporter answered, and each collector's last run succeeded. A gap: nothing is known. "
                "One fails: look at what it reads. All at once: look at the network, or the exporter's log.",
                [
                    Query(f"min(up{{{JOB}}})", "exporter"),
                    Query(of_collector("rounds_collector_success"), "{{collector}}"),
                ],
                WHOLE,
                no_value="No data: does Prometheus ask the exporter?",
                texts=WORKS,
            ),
            graph(
                202,
                "Duration of runs",
                "How long each collector's last run took. Dashed: the time from one run to the next; what takes longer "
                "than that skips runs.",
                [
                    Query(of_collector("rounds_collector_duration_seconds"), "{{collector}}"),
                    Query(of_collector(INTERVAL), "interval of {{collector}}", limit=DEGRADED, listed=False),
                ],
                HALF,
                no_value="No run in this time",
                unit="s",
                log=True,
                colours=DOMAIN_COLOURS,
                shades=COLLECTOR_SHADES,
            ),
            graph(
                203,
                "Age of the last success",
                "How old what each collector tells is. Dashed: from there on an alert fires. A line that keeps rising "
                "is a collector that fails; `rounds status` tells its error.",
                [
                    Query(f"max by (collector) ({SINCE_SUCCESS})", "{{collector}}"),
                    Query(stale_after(), "{{collector}} overdue", limit=DOWN, listed=False),
                ],
                HALF,
                no_value="No success in this time",
                unit="s",
                log=True,
                colours=DOMAIN_COLOURS,
                shades=COLLECTOR_SHADES,
            ),
            timeline(
                207,
                "Sources over time",
                "Whether each source could be used when a collector last tried. While it is down, all that read it "
                "fail. A gap is time in which nothing is known.",
                [Query(f"min by (source) (rounds_source_up{{{JOB}}})", "{{source}}")],
                HALF,
                no_value="Not configured: no source has been used",
                texts=UP_OR_DOWN,
            ),
            graph(
                208,
                "Questions to sources",
                "How many questions each source was sent. A bar stands for the time since the one before it. A data "
                "warehouse costs by these: it is woken up for them.",
                [Query(risen(QUERIES, "source"), "{{source}}")],
                HALF,
                no_value="Not configured: no source has been used",
                unit="locale",
                style="bars",
                points=BARS,
                decimals=0,
                soft_maximum=1,
            ),
            graph(
                209,
                "Checks of tables by what they needed",
                "No scan: the database said that nothing was changed, so that nothing was read. Scan: the database "
                "read the whole table, which is what a warehouse is paid for. The dashboard Tables shows each table.",
                [
                    Query(f"sum({risen(scans % 'unchanged', 'table')})", "no scan"),
                    Query(f"sum({risen(scans % 'scanned', 'table')})", "scan"),
                ],
                HALF,
                no_value="Not configured: no table is watched",
                unit="locale",
                style="bars",
                points=BARS,
                soft_maximum=1,
                colours={"no scan": PARTS[2], "scan": PARTS[5]},
                decimals=0,
            ),
            graph(
                210,
                "Rows read from tables",
                "How many rows' fingerprints were fetched to find out which rows had changed: the whole table at its "
                "first check, a part of it afterwards. Much of this makes checks slow.",
                [Query(risen("rounds_table_rows_read_total", "table"), "{{table}}")],
                HALF,
                no_value="Not configured: no table is watched",
                unit="locale",
                style="bars",
                points=BARS,
                soft_maximum=1,
                decimals=0,
            ),
            collectors.failures(
                204,
                "Failed runs by reason",
                "Runs of collectors that failed, by what went wrong. No answer, no connection: the network, or a busy "
                "source. Log-in refused: an old password. Fault of Rounds: please report it.",
                COLLECTOR,
                THIRD,
            ),
            graph(
                205,
                "Skipped runs",
                "Runs that were not begun, since the one before had not ended. Make the interval longer, or the source "
                "faster.",
                [Query(risen(f"rounds_collector_skipped_total{{{COLLECTOR}}}", "collector"), "{{collector}}")],
                THIRD,
                no_value="No run in this time",
                unit="locale",
                style="bars",
                points=BARS,
                soft_maximum=1,
                decimals=0,
                colours=DOMAIN_COLOURS,
                shades=COLLECTOR_SHADES,
            ),
            graph(
                206,
                "Values by collector",
                "How many values each collector tells. Dashed: `max_series` of the configuration; a run that finds "
                "more fails. A fall: old values were dropped. A rise with nothing new configured: ask why.",
                [
                    Query(of_collector("rounds_collector_samples"), "{{collector}}"),
                    Query(f"min(rounds_collector_max_series{{{JOB}}})", "at most", limit=DOWN),
                ],
                THIRD,
                no_value="No run in this time",
                unit="locale",
                log=True,
                decimals=0,
                colours=DOMAIN_COLOURS,
                shades=COLLECTOR_SHADES,
            ),
            # Also the one that always fires: a gap in it is time without alerts.
            ALERTS.over_time(211, "alertname", "{{alertname}}"),
        ],
    )


def detail() -> Row:
    """What is needed to find the cause."""
    ledger = "max by (instance) (rounds_ledger_%s{%s})"
    return Row(
        300,
        "Detail",
        [
            grid(
                311,
                "Ledgers",
                "Where Rounds keeps what must last. The size follows the rows of the watched tables. Writing is when "
                "something was last kept: a long time ago is a fault while anything is counted.",
                [
                    Column("Exporter", "instance", label=True),
                    Column("State", ledger % ("up", JOB), texts=UP_OR_DOWN, unit="none", width=90),
                    Column("Size", ledger % ("size_bytes", JOB), unit="bytes", decimals=1, width=90),
                    Column(
                        "Last written",
                        f"1000 * {ledger % ('last_commit_timestamp_seconds', JOB)}",
                        unit="dateTimeFromNow",
                        width=150,
                    ),
                    Column(
                        "Begun",
                        f"1000 * {ledger % ('created_timestamp_seconds', JOB)}",
                        unit="dateTimeFromNow",
                        width=150,
                    ),
                ],
                HALF,
                no_value="Not configured: nothing that is watched needs a ledger",
                sort=("Exporter", False),
            ),
            grid(
                309,
                "Versions",
                "Which program runs, since when, and when it loaded its configuration. Compare that with the beginning "
                "of a problem.",
                [
                    Column("Exporter", "instance", label=True),
                    Column("Version", "version", label=True, width=80),
                    Column("Python", "python", label=True, width=80),
                    Column(
                        "Started",
                        f"1000 * max by (instance) (process_start_time_seconds{{{JOB}}})",
                        unit="dateTimeFromNow",
                        width=150,
                    ),
                    Column("Loaded", f"1000 * {RELOADED}", unit="dateTimeFromNow", width=150),
                ],
                HALF,
                rows=f"group by (instance, version, python) (rounds_build_info{{{JOB}}})",
                no_value="No data: does Prometheus ask the exporter?",
                sort=("Exporter", False),
            ),
            *delivery(),
            *process(),
        ],
    )


#: When the configuration in use was loaded.
RELOADED = f"max by (instance) (rounds_config_last_reload_success_timestamp_seconds{{{JOB}}})"


def dashboard() -> str:
    """The dashboard's file."""
    return render(
        UID,
        "Exporter",
        "Whether Rounds itself can be relied on, what it asks of its sources, and whether its alerts reach anybody. A "
        "collector is the part of it that asks one source at fixed times.",
        variables=[Variable("collector", "Collector", INTERVAL)],
        alerts='component="exporter",alertname!="Watchdog"',
        rows=[now(), history(), detail()],
        marks=[
            Mark(
                "Configuration",
                f"1000 * {RELOADED}",
                "configuration loaded",
                "The exporter was started, or loaded it anew.",
                NEUTRAL,
            )
        ],
    )
