"""The dashboard of the exporter itself, and of those that carry its alerts: Prometheus and Alertmanager."""

from __future__ import annotations

from grafana.src import limits
from grafana.src.counters import risen
from grafana.src.kit import (
    BARS,
    DEGRADED,
    DOWN,
    NEUTRAL,
    NO_DATA,
    PARTS,
    PLAIN,
    UNKNOWN,
    UP,
    Column,
    Panel,
    Query,
    Row,
    Texts,
    Variable,
    from_one,
    graph,
    grid,
    link_to,
    render,
    stat_panel,
    timeline,
)

from rounds.errors import FAILURE_REASONS

UID = "exporter"
COLLECTOR = 'collector=~"$collector"'
#: How the rules and prometheus.yml call the exporter.
JOB = 'job="rounds"'
#: Collectors are called like their domains, or like the domain and what they are of, such as `tables/patients`.
DOMAIN_COLOURS = dict(zip(("services", "tables", "apr", "syncs", "emr"), PARTS, strict=False))
COLLECTOR_SHADES = {f"{domain}/": colour for domain, colour in DOMAIN_COLOURS.items()}

WORKS: Texts = {1: ("works", UP), 0: ("fails", DOWN)}
UP_OR_DOWN: Texts = {1: ("up", UP), 0: ("down", DOWN)}
ALL_COLLECTORS = link_to(UID, "Show all collectors", collector="$__all")
ONE_COLLECTOR = link_to(UID, "Show this collector", collector="${__field.labels.collector}")
ROW_COLLECTOR = link_to(UID, "Show this collector", collector="${__data.fields.Collector}")
SERVICES = link_to("services", "Look at the services")
TABLES = link_to("tables", "Look at the tables")

#: Without any source, none is down.
SOURCES_DOWN = f"count(rounds_source_up{{{JOB}}} == 0) or 0 * count(up{{{JOB}}})"
SINCE_SUCCESS = f"time() - rounds_collector_last_success_timestamp_seconds{{{COLLECTOR}}}"


def of_collector(metric: str) -> str:
    """A metric of the selected collectors, one value for each."""
    return f"max by (collector) ({metric}{{{COLLECTOR}}})"


def stale_after() -> str:
    """The age from which CollectorStale counts a collector's data as stale."""
    limit = limits.collector_stale()
    own = limit.replace("rounds_collector_interval_seconds", f"rounds_collector_interval_seconds{{{COLLECTOR}}}")
    return f"max by (collector) ({own})"


def now() -> Row:
    """What holds at this moment."""
    failing = f"sum(1 - {of_collector('rounds_collector_success')})"
    stale = f"count(max by (collector) ({SINCE_SUCCESS}) > {stale_after()}) or 0 * count({stale_after()})"
    undelivered = "sum(increase(alertmanager_notifications_failed_total[10m]))"
    unevaluated = "sum(increase(prometheus_rule_evaluation_failures_total[10m]))"

    def card(number: int, title: str, text: str, expr: str) -> Panel:
        return stat_panel(
            number,
            title,
            text,
            [Query(expr)],
            (3, 4),
            no_value=NO_DATA,
            unit="none",
            decimals=0,
            steps=from_one(DOWN),
            link=ALL_COLLECTORS,
        )

    return Row(
        100,
        "Now",
        [
            stat_panel(
                101,
                "Exporter",
                "Whether Prometheus gets an answer from the exporter. While it does not, nothing is known of what it "
                "watches: look at its log and start it again.",
                [Query(f"min(up{{{JOB}}})")],
                (3, 4),
                no_value="not scraped",
                unit="none",
                texts=UP_OR_DOWN,
                steps=((None, UNKNOWN),),
                link=SERVICES,
            ),
            card(
                102,
                "Collectors failing",
                "Collectors whose last run failed. `rounds status` says why.",
                failing,
            ),
            card(
                103,
                "Collectors stale",
                "Collectors without a success for so long that CollectorStale fires: what they export is old or "
                "dropped.",
                stale,
            ),
            stat_panel(
                104,
                "Configuration",
                "Whether the last attempt to load the configuration succeeded. `rounds check-config` says what is "
                "wrong; until then the one before stays in use.",
                [Query(f"min(rounds_config_last_reload_successful{{{JOB}}})")],
                (3, 4),
                no_value=NO_DATA,
                unit="none",
                texts={1: ("loaded", UP), 0: ("refused", DOWN)},
                steps=((None, UNKNOWN),),
                link=ALL_COLLECTORS,
            ),
            card(
                108,
                "Sources down",
                "Sources that could not be used when a collector last tried. All collectors that read them fail with "
                "them.",
                SOURCES_DOWN,
            ),
            stat_panel(
                109,
                "Ledger",
                "Whether what lasts can be kept: counters, journal, what is known of tables. While it is down nothing "
                "that needs it is collected. None: no domain that needs one is configured.",
                [Query(f"min(rounds_ledger_up{{{JOB}}})")],
                (3, 4),
                no_value="none",
                unit="none",
                texts=UP_OR_DOWN,
                steps=((None, UNKNOWN),),
                link=TABLES,
            ),
            card(
                105,
                "Messages lost",
                "Notifications that Alertmanager gave up on in the last 10 minutes. Its log names the cause; a wrong "
                "secret and a limit of the receiver are the usual ones.",
                undelivered,
            ),
            card(
                106,
                "Rules failed",
                "Rule evaluations that failed in the last 10 minutes: alerts of these groups may not fire. Prometheus "
                "shows the error on its page Rules.",
                unevaluated,
            ),
            grid(
                107,
                "Collectors",
                "Each collector's last run. Last success must stay below Stale after; a duration near the interval "
                "calls for a longer interval or a faster source. Read errors with `rounds status`.",
                [
                    Column("Collector", "collector", label=True, link=ROW_COLLECTOR),
                    Column("Last run", of_collector("rounds_collector_success"), unit="none", texts=WORKS, width=110),
                    Column(
                        "Duration", of_collector("rounds_collector_duration_seconds"), unit="s", decimals=2, width=110
                    ),
                    Column("Interval", of_collector("rounds_collector_interval_seconds"), unit="s", width=110),
                    Column(
                        "Of interval",
                        f"{of_collector('rounds_collector_duration_seconds')} / "
                        f"{of_collector('rounds_collector_interval_seconds')}",
                        unit="percentunit",
                        decimals=1,
                        steps=((None, UP), (0.8, DEGRADED), (1, DOWN)),
                        width=110,
                    ),
                    Column("Last success", f"max by (collector) ({SINCE_SUCCESS})", unit="s", decimals=1, width=130),
                    Column("Stale after", stale_after(), unit="s", decimals=1, width=130),
                    Column("Series", of_collector("rounds_collector_samples"), unit="none", width=110),
                    Column("Runs", of_collector("rounds_collector_runs_total"), unit="none", width=110),
                    Column(
                        "Failed",
                        f"sum by (collector) (rounds_collector_failures_total{{{COLLECTOR}}})",
                        unit="none",
                        steps=((None, PLAIN), (1, DEGRADED)),
                        width=110,
                    ),
                    Column(
                        "Skipped",
                        of_collector("rounds_collector_skipped_total"),
                        unit="none",
                        steps=((None, PLAIN), (1, DEGRADED)),
                        width=110,
                    ),
                ],
                (24, 8),
                no_value="No collector is known: is the exporter up?",
                sort=("Last success", True),
            ),
        ],
    )


def history() -> Row:
    """How collecting went."""
    skipped = f"rounds_collector_skipped_total{{{COLLECTOR}}}"
    failures = f"rounds_collector_failures_total{{{COLLECTOR}}}"
    return Row(
        200,
        "History: $collector",
        [
            timeline(
                201,
                "Exporter and collectors",
                "Whether the exporter answered, and each collector's last run succeeded. A gap is time in which "
                "nothing is known. One collector: look at its source. All at once: look at the network, or at the "
                "exporter's log.",
                [
                    Query(f"min(up{{{JOB}}})", "exporter"),
                    Query(of_collector("rounds_collector_success"), "collector {{collector}}"),
                ],
                (24, 8),
                no_value="Nothing is known in this time: is the exporter scraped?",
                texts=WORKS,
            ),
            graph(
                202,
                "Duration of runs, and the interval",
                "How long the last run took. Dashed: the time from one run to the next; a run that takes longer makes"
                " the collector skip runs.",
                [
                    Query(of_collector("rounds_collector_duration_seconds"), "{{collector}}"),
                    Query(
                        of_collector("rounds_collector_interval_seconds"),
                        "interval of {{collector}}",
                        limit=DEGRADED,
                        listed=False,
                    ),
                ],
                (12, 8),
                no_value="No run in this time",
                unit="s",
                log=True,
                colours=DOMAIN_COLOURS,
                shades=COLLECTOR_SHADES,
            ),
            graph(
                203,
                "Age of the last success",
                "How old the collector's data are. Dashed: the age from which CollectorStale fires. A line that rises "
                "without a break is a collector that fails: read its error with `rounds status`.",
                [
                    Query(f"max by (collector) ({SINCE_SUCCESS})", "{{collector}}"),
                    Query(stale_after(), "stale: {{collector}}", limit=DOWN, listed=False),
                ],
                (12, 8),
                no_value="No success in this time",
                unit="s",
                log=True,
                colours=DOMAIN_COLOURS,
                shades=COLLECTOR_SHADES,
            ),
            timeline(
                207,
                "Sources",
                "Whether each source could be used when a collector last tried; while it fails, so do all that read "
                "it. A gap is time in which nothing is known.",
                [Query(f"min by (source) (rounds_source_up{{{JOB}}})", "{{source}}")],
                (12, 7),
                no_value="No source has been used: none is configured, or the exporter was not up",
                texts=UP_OR_DOWN,
            ),
            graph(
                208,
                "Queries to sources",
                "Statements that each source was sent. A warehouse costs by these: it is woken up for them. If they "
                "are many, give tables longer intervals.",
                [Query(risen(f"rounds_source_queries_total{{{JOB}}}", "source"), "{{source}}")],
                (12, 7),
                no_value="No source has been used: none is configured, or the exporter was not up",
                unit="locale",
                style="bars",
                points=BARS,
                decimals=0,
                soft_maximum=1,
            ),
            graph(
                204,
                "Failed runs by reason",
                "Failed runs per minute. connect, timeout: network or load. auth: an expired secret. query, value: the "
                "source has changed. limit: more series than `max_series`. internal: a bug, please report it.",
                [
                    Query(f'60 * sum(rate({failures[:-1]},reason="{reason}"}}[$__rate_interval]))', reason, step="30s")
                    for reason in FAILURE_REASONS
                ],
                (8, 8),
                no_value="No run in this time",
                unit="cpm",
                soft_maximum=1,
                colours=dict(zip(FAILURE_REASONS, PARTS, strict=False)),
            ),
            graph(
                205,
                "Skipped runs",
                "Runs per minute that were not started because the one before had not ended. Make the interval longer"
                " or the source faster.",
                [
                    Query(
                        f"60 * sum by (collector) (rate({skipped}[$__rate_interval]))",
                        "{{collector}}",
                        step="30s",
                    )
                ],
                (8, 8),
                no_value="No run in this time",
                unit="cpm",
                soft_maximum=1,
                colours=DOMAIN_COLOURS,
                shades=COLLECTOR_SHADES,
            ),
            graph(
                206,
                "Series by collector",
                "Time series that each collector exports. A fall is a collector whose data went stale and were "
                "dropped; a rise without a new configuration is a label with too many values.",
                [Query(of_collector("rounds_collector_samples"), "{{collector}}")],
                (8, 8),
                no_value="No run in this time",
                unit="short",
                style="area",
                colours=DOMAIN_COLOURS,
                shades=COLLECTOR_SHADES,
            ),
        ],
    )


def delivery() -> list[Panel]:
    """The way of an alert: scrape, rule, notification."""
    sent = "60 * sum by (integration) (rate(alertmanager_notifications_total[$__rate_interval])) > 0"
    failed = "60 * sum by (integration) (rate(alertmanager_notifications_failed_total[$__rate_interval]))"
    evaluated = "rate(prometheus_rule_evaluations_total[$__rate_interval])"
    unevaluated = "rate(prometheus_rule_evaluation_failures_total[$__rate_interval])"
    return [
        graph(
            301,
            "Scrapes of the exporter",
            "How long Prometheus waited for the exporter's answer. It gives up after its scrape timeout, 4 s as "
            "delivered: long before that, look at the number of series and at the machine's load.",
            [Query(f"max by (instance) (scrape_duration_seconds{{{JOB}}})", "{{instance}}")],
            (8, 8),
            no_value="The exporter is not scraped",
            unit="s",
            colour=NEUTRAL,
        ),
        graph(
            302,
            "Rule evaluations",
            "Per minute. If any fail, alerts may not fire: Prometheus shows the error on its page Rules.",
            [
                Query(f"60 * (sum({evaluated}) - sum({unevaluated}))", "evaluated"),
                Query(f"60 * sum({unevaluated})", "failed"),
            ],
            (8, 8),
            no_value="Prometheus does not scrape itself",
            unit="cpm",
            style="area",
            colours={"evaluated": UP, "failed": DOWN},
        ),
        graph(
            303,
            "Notifications",
            "Messages per minute that Alertmanager sent, by channel, and those that it gave up on. Its log names the "
            "cause of a failure.",
            [
                Query(sent, "{{integration}}", step="30s"),
                Query(f"sum({failed})", "failed", step="30s"),
            ],
            (8, 8),
            no_value="Prometheus does not scrape Alertmanager",
            unit="cpm",
            style="bars",
            colours={"failed": DOWN, **dict(zip(("email", "slack", "webhook"), PARTS, strict=False))},
        ),
    ]


def storage() -> list[Panel]:
    """Where what is known comes from, and where it is kept."""
    source = f"rounds_source_queries_total{{{JOB}}}"
    ledger = "max by (instance) (rounds_ledger_%s{%s})"
    return [
        grid(
            310,
            "Sources",
            "Each source: whether it could be used when a collector last tried, and the statements that it was sent. "
            "Read an error with `rounds status`.",
            [
                Column("Source", "source", label=True),
                Column(
                    "State", f"min by (source) (rounds_source_up{{{JOB}}})", texts=UP_OR_DOWN, unit="none", width=90
                ),
                *(
                    Column(
                        f"Queries, {words}",
                        f"max by (source) (increase({source}[{window}]))",
                        unit="locale",
                        decimals=0,
                        width=130,
                    )
                    for words, window in (("1 h", "1h"), ("24 h", "1d"))
                ),
            ],
            (9, 6),
            no_value="No source has been used",
            sort=("Source", False),
        ),
        grid(
            311,
            "Ledger",
            "Where counters, journal and what is known of tables are kept. Its size follows the watched tables' rows. "
            "Quarantined: corrupt files that were moved aside; changes before that are not known. Delete them once "
            "nobody needs them.",
            [
                Column("Exporter", "instance", label=True),
                Column("State", ledger % ("up", JOB), texts=UP_OR_DOWN, unit="none", width=90),
                Column("Size", ledger % ("size_bytes", JOB), unit="bytes", decimals=1, width=100),
                Column(
                    "Last commit",
                    f"1000 * {ledger % ('last_commit_timestamp_seconds', JOB)}",
                    unit="dateTimeFromNow",
                    width=150,
                ),
                Column("Commits", ledger % ("commits_total", JOB), unit="locale", decimals=0, width=100),
                Column(
                    "Created", f"1000 * {ledger % ('created_timestamp_seconds', JOB)}", unit="dateTimeAsIso", width=180
                ),
                Column(
                    "Quarantined",
                    ledger % ("quarantined_files", JOB),
                    unit="none",
                    steps=((None, PLAIN), (1, DEGRADED)),
                    width=110,
                ),
            ],
            (15, 6),
            no_value="There is no ledger: no domain that needs one is configured",
            sort=("Exporter", False),
        ),
    ]


def process() -> list[Panel]:
    """The exporter as a program."""
    per_minute = f"60 * sum by (handler, code) (rate(rounds_http_requests_total{{{JOB}}}[$__rate_interval])) > 0"
    loaded = f"rounds_config_last_reload_success_timestamp_seconds{{{JOB}}}"
    cpu = f"rate(process_cpu_seconds_total{{{JOB}}}[$__rate_interval])"
    return [
        graph(
            304,
            "HTTP requests",
            "Requests per minute by page and status. 401: somebody tries passwords, or Prometheus has a wrong one. "
            "5xx: read the exporter's log.",
            [Query(per_minute, "{{handler}} {{code}}")],
            (8, 8),
            no_value="Nobody asked the exporter in this time",
            unit="cpm",
            colour=NEUTRAL,
            style="area",
        ),
        graph(
            305,
            "Processor",
            "Processors in use, as a share of one. If it stays near 1, give checks longer intervals or run a second "
            "exporter.",
            [Query(f"max by (instance) ({cpu})", "{{instance}}")],
            (8, 8),
            no_value="The exporter is not scraped",
            unit="percentunit",
            colour=NEUTRAL,
        ),
        graph(
            306,
            "Memory",
            "What the exporter holds in memory. It grows with the number of series, then stays. If it keeps growing, "
            "restart it and report that.",
            [Query(f"max by (instance) (process_resident_memory_bytes{{{JOB}}})", "{{instance}}")],
            (8, 8),
            no_value="The exporter is not scraped",
            unit="bytes",
            colour=NEUTRAL,
        ),
        graph(
            307,
            "Open files and connections",
            "Against the limit, dashed. At the limit probes fail: raise it, or give checks longer intervals.",
            [
                Query(f"max by (instance) (process_open_fds{{{JOB}}})", "{{instance}}"),
                Query(f"min(process_max_fds{{{JOB}}})", "limit", limit=DOWN),
            ],
            (8, 8),
            no_value="The exporter is not scraped",
            unit="short",
            colour=NEUTRAL,
            log=True,
        ),
        graph(
            308,
            "Age of the configuration",
            "Time since the configuration in use was loaded. It falls to 0 at each reload and each restart: compare "
            "that with the beginning of a problem.",
            [
                Query(
                    f"time() - max by (instance) ({loaded})",
                    "{{instance}}",
                )
            ],
            (8, 8),
            no_value="The exporter is not scraped",
            unit="s",
            colour=NEUTRAL,
        ),
        grid(
            309,
            "Versions",
            "What runs, and since when.",
            [
                Column("Exporter", "instance", label=True),
                Column("Version", "version", label=True, width=80),
                Column("Python", "python", label=True, width=80),
                Column(
                    "Started", f"1000 * max by (instance) (process_start_time_seconds{{{JOB}}})", unit="dateTimeFromNow"
                ),
            ],
            (8, 8),
            rows=f"group by (instance, version, python) (rounds_build_info{{{JOB}}})",
            no_value="The exporter is not scraped",
            sort=("Exporter", False),
        ),
    ]


def dashboard() -> str:
    """The dashboard's file."""
    return render(
        UID,
        "Exporter",
        "Whether Rounds itself can be relied on: its collectors, its process, and the way of its alerts through "
        "Prometheus and Alertmanager.",
        variables=[Variable("collector", "Collector", "rounds_collector_interval_seconds")],
        alerts='component="exporter",alertname!="Watchdog"',
        rows=[now(), history(), Row(300, "Detail", [*storage(), *delivery(), *process()])],
    )
