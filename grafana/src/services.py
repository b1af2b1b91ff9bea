"""The dashboard of the domain `services`."""

from __future__ import annotations

from grafana.src import limits
from grafana.src.alerts import Alerts
from grafana.src.kit import (
    DEGRADED,
    DOWN,
    HALF,
    INVISIBLE,
    LONG_THIRD,
    LONG_TWO_THIRDS,
    LONG_WHOLE,
    NEUTRAL,
    NO_DATA,
    NONE,
    PARTS,
    PLAIN,
    PROBES_STEP,
    SMALL_CARD,
    STATE_COLOURS,
    STATES,
    THIRD,
    TWO_THIRDS,
    UNKNOWN,
    UP,
    WHOLE,
    Column,
    Panel,
    Query,
    Row,
    Variable,
    always,
    bars,
    from_one,
    graph,
    grid,
    link_to,
    render,
    stat_panel,
    timeline,
)

from rounds.services.metrics import BOUNDS
from rounds.services.result import PHASES, REASONS

UID = "services"
TIER = 'tier=~"$tier"'
SELECTED = f'{TIER},check=~"$check"'
ALERTS = Alerts("services", "services")
REASON_COLOURS: dict[str, str] = dict(zip(REASONS, PARTS, strict=True))

ALL_CHECKS = link_to(UID, "Show all checks", tier="$__all", check="$__all")
ONE_CHECK = link_to(UID, "Show this check", tier="$__all", check="${__field.labels.check}")
ROW_CHECK = link_to(UID, "Show this check", tier="$__all", check="${__data.fields.Check}")
EXPORTER = link_to("exporter", "Look at the exporter")

#: What is left of a certificate. A card begins with what is not known, so that it needs a number below all others.
CERTIFICATE = ((None, DOWN), (limits.certificate_critical(), DEGRADED), (limits.certificate_warning(), UP))
VERY_LONG = 1e9

#: Every check that was known within the last hour.
EVERY = f"group by (check) (last_over_time(check:rounds_check_state:code{{{TIER}}}[1h]))"
#: The state of every check that is known now.
KNOWN = f"max by (check) (check:rounds_check_state:code{{{TIER}}})"
#: The state of each of those that were, 3 where it is not known now.
STATE = f"({KNOWN} or on (check) 3 * {EVERY})"


def count_of(state: str) -> str:
    """How many checks of the tier are in a state: by the recorded state, so that counts and cards agree."""
    code = next(code for code, (word, _) in STATES.items() if word == state)
    return f"count({KNOWN} == {code}) or 0 * count({KNOWN})"


def selected(metric: str, *matchers: str) -> str:
    """A metric of the selected checks, one value for each: the highest, where several exporters probe it."""
    return f"max by (check) ({metric}{{{','.join((SELECTED, *matchers))}}})"


def cards() -> str:
    """The state of each check, with the rest of its card in labels, since a name is made of labels alone.

    `count_values` makes labels of numbers. A check that lacks one, such as a status where nothing answered, is kept by
    the second half of each join, and leaves the label's place in the name empty.
    """
    took = f"round(1000 * max by (check) (rounds_check_response_seconds{{{TIER}}}))"
    status = f"max by (check) (rounds_check_http_status_code{{{TIER}}})"
    failures = f"sum by (check, reason) (increase(rounds_check_failures_total{{{TIER}}}[5m])) > 0"
    down = f'max by (check) (rounds_check_state{{state="down",{TIER}}}) == 1'
    labels = {
        "took": label("took", "$1\u00a0ms", f'count_values by (check) ("ms", {took})', "ms"),
        "answer": label("answer", "$1", f'count_values by (check) ("status", {status})', "status"),
        "why": label(
            "why", "$1", f"group by (check, reason) (topk by (check) (1, {failures}) and on (check) {down})", "reason"
        ),
    }
    joins = (f"* on (check) group_left ({name}) ({source} or on (check) {EVERY})" for name, source in labels.items())
    return f"sort_desc({' '.join((STATE, *joins))})"


def label(name: str, text: str, source: str, old: str) -> str:
    """A label made of another one, with what separates it from the one before it; its spaces do not break lines."""
    return f'label_replace({source}, "{name}", "\u00b7\u00a0{text}", "{old}", "(.+)")'


def now() -> Row:
    """What holds at this moment, for all checks of the tier."""

    def count(
        number: int, title: str, text: str, expr: str, *, colour: str, link: tuple[str, str] = ALL_CHECKS
    ) -> Panel:
        steps = always(colour) if colour in {UP, NEUTRAL} else from_one(colour)
        return stat_panel(number, title, text, [Query(expr)], SMALL_CARD, no_value=NO_DATA, steps=steps, link=link)

    missing = f"count({EVERY} unless on (check) check:rounds_check_state:code) or 0 * count({EVERY})"
    return Row(
        100,
        "Now",
        [
            count(
                101,
                "Down",
                "Checks that find their service down. Open the card below, then the alert's runbook.",
                count_of("down"),
                colour=DOWN,
            ),
            count(
                102,
                "Degraded",
                "Checks whose service answers too slowly. Find the slow phase under Detail.",
                count_of("degraded"),
                colour=DEGRADED,
            ),
            count(103, "Up", "Checks that find their service well. Nothing to do.", count_of("up"), colour=UP),
            count(
                104,
                "No data",
                "Checks that were known within the last hour and are not now. Look at the exporter, unless they were "
                "removed from its configuration.",
                missing,
                colour=UNKNOWN,
                link=EXPORTER,
            ),
            count(
                105,
                "All checks",
                "Checks that are known now. Click to see all of them, after looking at one.",
                f"count(group by (check) (rounds_check_state{{{TIER}}}))",
                colour=NEUTRAL,
            ),
            stat_panel(
                109,
                "First to expire",
                "How long the certificate that ends first is still valid. Browsers and programs refuse a service whose "
                "certificate has ended. Orange: renew it this week. Red: now.",
                [Query(f"min(rounds_check_tls_expiry_timestamp_seconds{{{TIER}}}) - time()")],
                SMALL_CARD,
                no_value=NONE,
                unit="s",
                decimals=0,
                steps=((None, UNKNOWN), (-VERY_LONG, DOWN), *CERTIFICATE[1:]),
                link=ALL_CHECKS,
            ),
            ALERTS.card(106, TIER, link=ALL_CHECKS),
            stat_panel(
                107,
                "Checks, the worst first",
                "One card for each check: its state, the duration and HTTP status of the last probe and, while it is "
                "down, the commonest reason of the last 5 minutes. Click one to see only its history and detail.",
                [Query(cards(), "{{check}} {{took}} {{answer}} {{why}}")],
                HALF,
                no_value="No check is known: is the exporter up, and has it checks?",
                unit="none",
                texts=STATES,
                steps=((None, UNKNOWN),),
                link=ONE_CHECK,
                names=True,
            ),
            ALERTS.listed(
                108,
                [Column("Check", "check", label=True, link=ROW_CHECK)],
                ALERTS.since("check, alertname, severity", TIER),
            ),
        ],
    )


def history() -> Row:
    """How it came to this, for the selected checks."""
    fast, slow, objective = limits.burn_fast(), limits.burn_slow(), limits.objective()
    good = ((None, DOWN), (objective, UP))
    burning = ((None, UP), (slow, DEGRADED), (fast, DOWN))
    availability = "check:rounds_check_availability:ratio_rate"
    down = f'rounds_check_state{{state="down",{SELECTED}}}'
    known = f"count_over_time({down}[$__range:$__interval]) * $__interval_ms / 1000"
    seconds_down = f"max by (check) (avg_over_time({down}[$__range]) * {known})"
    outages = f"max by (check) (ceil(changes({down}[$__range]) / 2))"
    per_minute = "60 * sum by (reason) (rate(rounds_check_failures_total{%s}[$__rate_interval])) > 0"
    failed = f"60 * sum(rate(check:rounds_check_failures_total:sum{{{SELECTED}}}[$__rate_interval]))"
    probed = f"60 * sum(rate(check:rounds_check_probes_total:sum{{{SELECTED}}}[$__rate_interval]))"
    return Row(
        200,
        "History: $check",
        [
            timeline(
                201,
                "State",
                "The state of each check after thresholds and hysteresis. A gap is time in which nothing is known: "
                "look at the exporter. Changes at the same time point to a common cause.",
                [Query(selected("check:rounds_check_state:code"), "{{check}}")],
                WHOLE,
                no_value="No state is known in this time: is the exporter up?",
                texts=STATES,
                link=ONE_CHECK,
            ),
            graph(
                202,
                "Response time",
                "How long the last probe took, also where it timed out. Dashed: the lowest response time from which "
                "one of these checks counts as degraded, or as down. Nothing is drawn where nothing answered.",
                [
                    Query(selected("rounds_check_response_seconds"), "{{check}}"),
                    Query(threshold("degraded"), "degraded from", limit=DEGRADED),
                    Query(threshold("down"), "down from", limit=DOWN),
                ],
                HALF,
                no_value="No answer in this time",
                unit="s",
                log=True,
                link=ONE_CHECK,
            ),
            graph(
                203,
                "Checks by state",
                "How many of the selected checks are in each state. Where the sum falls, checks are not known: look "
                "at the exporter.",
                [
                    Query(f'sum(max by (check) (rounds_check_state{{state="{state}",{SELECTED}}}))', state)
                    for state in ("up", "degraded", "down")
                ],
                HALF,
                no_value="No state is known in this time: is the exporter up?",
                unit="none",
                style="area",
                colours=STATE_COLOURS,
                decimals=0,
            ),
            grid(
                204,
                "Availability and error budget",
                f"The share of probes that did not find the service down, red below the objective of {objective:.1%}."
                " What is left of the error budget of 30 days, and how many times as fast as it may it is being "
                f"used: from {slow:g} on it needs a place in the plan, from {fast:g} on somebody now. A window that "
                "is longer than what is known is that of what is known.",
                [
                    Column("Check", "check", label=True, link=ROW_CHECK),
                    *(
                        Column(
                            title, selected(availability + window), unit="percentunit", decimals=2, steps=good, width=90
                        )
                        for title, window in (("1 h", "1h"), ("24 h", "1d"), ("7 d", "7d"), ("30 d", "30d"))
                    ),
                    Column(
                        "Budget left",
                        selected("check:rounds_check_error_budget_remaining:ratio30d"),
                        unit="percentunit",
                        decimals=0,
                        steps=((None, DOWN), (0, UP)),
                        width=110,
                    ),
                    Column(
                        "Burn 1 h",
                        selected("check:rounds_check_burn:rate1h"),
                        unit="none",
                        decimals=1,
                        steps=burning,
                        width=95,
                    ),
                    Column(
                        "Burn 24 h",
                        selected("check:rounds_check_burn:rate1d"),
                        unit="none",
                        decimals=1,
                        steps=burning,
                        width=95,
                    ),
                ],
                LONG_TWO_THIRDS,
                no_value="Nothing is recorded yet: windows of days need ten minutes",
                sort=("Budget left", False),
            ),
            graph(
                205,
                "Burn rate over 1 h",
                "How many times as fast as it may each check uses its error budget. At 1 the budget of 30 days lasts"
                f" 30 days. The dashed line is where ErrorBudgetBurnFast begins, {fast:g}: stop what causes the "
                "failures, such as a rollout.",
                [Query(selected("check:rounds_check_burn:rate1h"), "{{check}}")],
                LONG_THIRD,
                no_value="Nothing is recorded yet",
                unit="none",
                decimals=0,
                limits=((None, INVISIBLE), (fast, DOWN)),
                link=ONE_CHECK,
            ),
            grid(
                206,
                "Outages in the time shown",
                "How often each check found its service down, for how long in all, and how long it took to recover on"
                " average. Many short ones: look for restarts. Few long ones: look at how they are noticed and "
                "repaired.",
                [
                    Column("Check", "check", label=True, link=ROW_CHECK),
                    Column("Outages", outages, unit="none", decimals=0, width=85),
                    Column("Time down", seconds_down, unit="s", decimals=0, width=120),
                    Column("Mean", f"{seconds_down} / ({outages} > 0)", unit="s", decimals=0, width=85),
                ],
                THIRD,
                no_value="No state is known in this time",
                sort=("Time down", True),
            ),
            graph(
                207,
                "Failures by reason",
                "Failed probes per minute. connect, dns, tls: the network or the server process. http_status, body: "
                "the service itself. timeout, slow: its load, or what it depends on.",
                [Query(per_minute % SELECTED, "{{reason}}", step=PROBES_STEP)],
                THIRD,
                no_value="No probe failed in this time",
                unit="cpm",
                style="bars",
                colours=REASON_COLOURS,
            ),
            graph(
                208,
                "Probes",
                "Probes per minute, and how many of them found the service down. If they get fewer, the exporter is "
                "overloaded or was configured anew.",
                [
                    Query(f"{probed} - {failed}", "not down", step=PROBES_STEP),
                    Query(failed, "down", step=PROBES_STEP),
                ],
                THIRD,
                no_value="No probe in this time: is the exporter up?",
                unit="cpm",
                style="area",
                colours={"not down": UP, "down": DOWN},
            ),
            ALERTS.over_time(209, "check", "{{check}}", SELECTED),
        ],
    )


def threshold(level: str) -> str:
    """The lowest configured limit of the selected checks."""
    return f'min(rounds_check_threshold_seconds{{level="{level}",{SELECTED}}})'


def detail() -> Row:
    """What is needed to find the cause, for the selected checks."""
    bucket = f"rounds_check_duration_seconds_bucket{{{SELECTED}}}"
    expiry = selected("rounds_check_tls_expiry_timestamp_seconds")
    within = f"sum(increase(rounds_check_duration_seconds_count{{{SELECTED}}}[$__range]))"
    return Row(
        300,
        "Detail: $check",
        [
            grid(
                301,
                "Targets",
                "What is checked, what the last probe found, and how it is configured. To see what a probe meets step"
                " by step, ask the exporter for /probe?check=NAME&debug=true.",
                [
                    Column("Check", "check", label=True, width=160, link=ROW_CHECK),
                    Column("State", selected("check:rounds_check_state:code"), texts=STATES, unit="none", width=90),
                    Column(
                        "Since",
                        f"1000 * {selected('rounds_check_last_transition_timestamp_seconds')}",
                        unit="dateTimeFromNow",
                        width=150,
                    ),
                    Column(
                        "Failed in a row",
                        selected("rounds_check_consecutive_failures"),
                        unit="none",
                        steps=((None, PLAIN), (1, DOWN)),
                        width=120,
                    ),
                    Column("Status", selected("rounds_check_http_status_code"), unit="none", width=75),
                    Column("Response", selected("rounds_check_response_seconds"), unit="s", decimals=1, width=90),
                    Column("Degraded from", threshold_of("degraded"), unit="s", width=120),
                    Column("Down from", threshold_of("down"), unit="s", width=100),
                    Column("Interval", selected("rounds_check_interval_seconds"), unit="s", width=80),
                    Column("Timeout", selected("rounds_check_timeout_seconds"), unit="s", width=80),
                    Column("Tier", "tier", label=True, width=90),
                    Column("Kind", "kind", label=True, width=60),
                    Column("Target", "target", label=True),
                ],
                LONG_WHOLE,
                rows=f"group by (check, tier, kind, target) (rounds_check_info{{{SELECTED}}})",
                no_value="No check is known: is the exporter up?",
                sort=("State", True),
            ),
            graph(
                302,
                "Phases of the last probe, mean of the selected checks",
                "Where the time goes. resolve: the name server. connect: the network, or a full accept queue. tls: the "
                "handshake. processing: the service, until its first byte. transfer: a large or slow body.",
                [Query(f"avg by (phase) (rounds_check_phase_seconds{{{SELECTED}}})", "{{phase}}")],
                HALF,
                no_value="No phase was measured in this time",
                unit="s",
                style="area",
                colours=dict(zip(PHASES, PARTS, strict=False)),
            ),
            graph(
                303,
                "Response time by percentile",
                "Computed from the histogram of all selected probes: half of them, 95 % and 99 % took no longer than "
                "this. A high p99 over a low p50 is a service that is slow for some of its requests.",
                [
                    Query(
                        f"histogram_quantile({share}, sum by (le) (rate({bucket}[$__rate_interval])))",
                        name,
                        step=PROBES_STEP,
                    )
                    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
                ],
                HALF,
                no_value="No answer in this time",
                unit="s",
                log=True,
                colours=dict(zip(("p50", "p95", "p99"), (PARTS[2], PARTS[0], PARTS[1]), strict=True)),
            ),
            bars(
                304,
                "Probes that took at most",
                "The share of the probes in the time shown, for each bound of the histogram. Set a check's thresholds "
                "where this stops rising.",
                [
                    Query(
                        f'sum(increase({bucket[:-1]},le="{bound}"}}[$__range])) / {within}',
                        f"{bound:g} s",
                    )
                    for bound in BOUNDS
                ],
                THIRD,
                no_value="No answer in this time",
                unit="percentunit",
                maximum=1,
                decimals=1,
            ),
            timeline(
                305,
                "HTTP status",
                "The status of each check's last response: blue is an answer as asked for or a redirect, orange the "
                "request's fault, red the service's. A gap is a probe without a response: see Failures by reason.",
                [Query(selected("rounds_check_http_status_code"), "{{check}}")],
                TWO_THIRDS,
                no_value="No HTTP response in this time",
                texts={},
                ranges=((100, 399, NEUTRAL), (400, 499, DEGRADED), (500, 599, DOWN)),
                link=ONE_CHECK,
            ),
            grid(
                306,
                "Certificates",
                "How long the certificate that a check was shown is still valid. Renew an orange one this week, a red "
                "one now, and find out why the automatic renewal did not.",
                [
                    Column("Check", "check", label=True, link=ROW_CHECK),
                    Column("Valid for", f"{expiry} - time()", unit="s", decimals=1, steps=CERTIFICATE),
                    Column("Until", f"1000 * {expiry}", unit="dateTimeAsIso", width=180),
                ],
                HALF,
                no_value="None of these checks uses TLS",
                sort=("Valid for", False),
            ),
            graph(
                307,
                "Failed probes in a row",
                "Failures since the last probe that did not fail. A steep line that does not break is an outage; teeth "
                "are a service that comes and goes.",
                [Query(selected("rounds_check_consecutive_failures"), "{{check}}")],
                HALF,
                no_value="No probe in this time: is the exporter up?",
                unit="none",
                decimals=0,
                link=ONE_CHECK,
            ),
        ],
    )


def threshold_of(level: str) -> str:
    """Each selected check's configured limit."""
    return selected("rounds_check_threshold_seconds", f'level="{level}"')


def dashboard() -> str:
    """The dashboard's file."""
    return render(
        UID,
        "Services",
        "Are the services up, how did they fare, and why. Now shows all checks of the tier, History and Detail the "
        "selected ones.",
        variables=[
            Variable("tier", "Tier", "rounds_check_info"),
            Variable("check", "Check", f"rounds_check_info{{{TIER}}}"),
        ],
        alerts=f'component="services",{SELECTED}',
        rows=[now(), history(), detail()],
    )
