"""The row Detail of the exporter's dashboard: the way of an alert, and the exporter as a program."""

from __future__ import annotations

from collections.abc import Mapping

from grafana.src.counters import risen
from grafana.src.exporter_queries import JOB
from grafana.src.kit import BARS, DOWN, NEUTRAL, PARTS, THIRD, TWO_THIRDS, UP, Panel, Query, graph

#: How Alertmanager calls the ways by which it sends.
WAYS = ("email", "slack", "webhook")
WAY_COLOURS = dict(zip(WAYS, PARTS, strict=False))
NO_PROMETHEUS = "Not configured: Prometheus does not ask itself"
NO_ALERTMANAGER = "Not configured: Prometheus does not ask Alertmanager"
NO_EXPORTER = "No data: does Prometheus ask the exporter?"


def counted(
    number: int,
    title: str,
    text: str,
    queries: list[Query],
    *,
    none: str,
    size: tuple[int, int] = THIRD,
    looks: Mapping[str, str] | None = None,
) -> Panel:
    """Bars of exact numbers."""
    return graph(
        number,
        title,
        text,
        queries,
        size,
        no_value=none,
        unit="locale",
        style="bars",
        points=BARS,
        decimals=0,
        soft_maximum=1,
        colours=looks,
    )


def delivery() -> list[Panel]:
    """From what Prometheus asks of the exporter, over the rules, to the message."""
    evaluated = risen("prometheus_rule_evaluations_total", "rule_group")
    unevaluated = risen("prometheus_rule_evaluation_failures_total", "rule_group")
    missed = risen("prometheus_rule_group_iterations_missed_total", "rule_group")
    return [
        graph(
            301,
            "Answers of the exporter",
            "How long Prometheus waited for the exporter's answer. As delivered it gives up after 4 seconds. Long "
            "before that, see how many values there are, and how busy the computer is.",
            [Query(f"max by (instance) (scrape_duration_seconds{{{JOB}}})", "{{instance}}")],
            THIRD,
            no_value=NO_EXPORTER,
            unit="s",
            colour=NEUTRAL,
        ),
        graph(
            312,
            "Values in one answer",
            "How many values Prometheus gets each time it asks the exporter. A rise with nothing new configured fills "
            "the disk: look at Values by collector.",
            [Query(f"max by (instance) (scrape_samples_scraped{{{JOB}}})", "{{instance}}")],
            THIRD,
            no_value=NO_EXPORTER,
            unit="locale",
            decimals=0,
            colour=NEUTRAL,
        ),
        graph(
            313,
            "Values that Prometheus keeps",
            "How many values Prometheus has in memory, from the exporter and from everything else it asks. It needs "
            "some kilobytes for each.",
            [Query("max by (instance) (prometheus_tsdb_head_series)", "{{instance}}")],
            THIRD,
            no_value=NO_PROMETHEUS,
            unit="locale",
            decimals=0,
            colour=NEUTRAL,
        ),
        counted(
            302,
            "Rules",
            "How often rules, which decide on alerts, were worked out. If any fail, or groups of them are left out, "
            "alerts may not fire or come late: Prometheus shows the error on its page Rules.",
            [
                Query(f"sum({evaluated}) - sum({unevaluated})", "worked out"),
                Query(f"sum({unevaluated})", "failed"),
                Query(f"sum({missed})", "left out"),
            ],
            none=NO_PROMETHEUS,
            looks={"worked out": UP, "failed": DOWN, "left out": PARTS[1]},
        ),
        graph(
            314,
            "Duration of rules",
            "How long Prometheus took for the slowest rules of each file. Dashed: the time until they are due "
            "again. Rules that come near that are left out now and then.",
            [
                Query(
                    "max by (file) (label_replace(prometheus_rule_group_last_duration_seconds, "
                    '"file", "$1", "rule_group", ".*/([^/]+)[.]yml;.+"))',
                    "{{file}}",
                ),
                Query("min(prometheus_rule_group_interval_seconds)", "due again", limit=DOWN),
            ],
            THIRD,
            no_value=NO_PROMETHEUS,
            unit="s",
            log=True,
        ),
        counted(
            317,
            "Alerts to Alertmanager",
            "Alerts that Prometheus handed to Alertmanager, which sends the messages, and those that it could not hand "
            "over: is Alertmanager up?",
            [
                Query(f"sum({risen('prometheus_notifications_sent_total', 'alertmanager')})", "handed over"),
                Query(f"sum({risen('prometheus_notifications_errors_total', 'alertmanager')})", "failed"),
            ],
            none=NO_PROMETHEUS,
            looks={"handed over": UP, "failed": DOWN},
        ),
        counted(
            303,
            "Messages sent",
            "Messages about alerts that Alertmanager sent, by the way they went. None for long while alerts fire: look "
            "at its page Status.",
            messages("alertmanager_notifications_total"),
            none=NO_ALERTMANAGER,
            looks=WAY_COLOURS,
        ),
        counted(
            316,
            "Messages failed",
            "Messages that Alertmanager gave up on, by the way they should have gone. Often a password was changed, or "
            "the receiver takes no more. Its log names the cause.",
            messages("alertmanager_notifications_failed_total"),
            none=NO_ALERTMANAGER,
            looks=WAY_COLOURS,
        ),
        counted(
            318,
            "Writing to the ledger",
            "How often something was kept in the ledger, the memory of Rounds. None for long: nothing that must last "
            "was found, or the ledger is down.",
            [Query(risen(f"rounds_ledger_commits_total{{{JOB}}}", "instance"), "{{instance}}")],
            none="Not configured: nothing that is watched needs a ledger",
        ),
    ]


def messages(counter: str) -> list[Query]:
    """How many messages of each way a counter of Alertmanager rose by."""
    of_way = {way: f'{counter}{{integration="{way}"}}' for way in WAYS}
    return [Query(f"sum({risen(each, 'integration, reason, instance')})", way) for way, each in of_way.items()]


def process() -> list[Panel]:
    """The exporter as a program."""
    cpu = f"rate(process_cpu_seconds_total{{{JOB}}}[$__rate_interval])"
    return [
        graph(
            319,
            "Size of the ledger",
            "How much room the ledger takes. It follows the rows of the watched tables. If it keeps growing while they "
            "do not, report that.",
            [Query(f"max by (instance) (rounds_ledger_size_bytes{{{JOB}}})", "{{instance}}")],
            THIRD,
            no_value="Not configured: nothing that is watched needs a ledger",
            unit="bytes",
            colour=NEUTRAL,
        ),
        graph(
            305,
            "Processor",
            "How much of one processor the exporter takes. If it stays near 100 %, give checks longer intervals, or "
            "run a second exporter.",
            [Query(f"max by (instance) ({cpu})", "{{instance}}")],
            THIRD,
            no_value=NO_EXPORTER,
            unit="percentunit",
            colour=NEUTRAL,
        ),
        graph(
            306,
            "Memory",
            "What the exporter holds in memory. It grows with the number of values, then stays. If it keeps growing, "
            "start it again and report that.",
            [Query(f"max by (instance) (process_resident_memory_bytes{{{JOB}}})", "{{instance}}")],
            THIRD,
            no_value=NO_EXPORTER,
            unit="bytes",
            colour=NEUTRAL,
        ),
        graph(
            307,
            "Open files and connections",
            "How many the exporter has open. Dashed: what the computer allows. At that limit checks fail: raise it, or "
            "give checks longer intervals.",
            [
                Query(f"max by (instance) (process_open_fds{{{JOB}}})", "{{instance}}"),
                Query(f"min(process_max_fds{{{JOB}}})", "at most", limit=DOWN),
            ],
            THIRD,
            no_value=NO_EXPORTER,
            unit="locale",
            decimals=0,
            colour=NEUTRAL,
            log=True,
        ),
        counted(
            304,
            "Requests to the exporter",
            "Who asks, by page and answer: 200 is an answer as asked for. 401: somebody tries passwords, or Prometheus "
            "has a wrong one. 500 and more: read the exporter's log.",
            [
                Query(
                    f"{risen(f'rounds_http_requests_total{{{JOB}}}', 'handler, code')} > 0",
                    "{{handler}} {{code}}",
                )
            ],
            none="No request in this time",
            size=TWO_THIRDS,
        ),
    ]
