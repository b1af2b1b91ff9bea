"""The dashboard of the domain `services`."""

from __future__ import annotations

from grafana.src import limits, words
from grafana.src.alerts import Alerts
from grafana.src.counters import risen
from grafana.src.kit import (
    BARS,
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
    SHARE_COLOURS,
    SHARES,
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
from rounds.services.result import PHASES
from rounds.services.result import REASONS as FAILURES

UID = "services"
TIER = 'tier=~"$tier"'
SELECTED = f'{TIER},check=~"$check"'
ALERTS = Alerts("services", "services")
assert set(words.PROBES) == set(FAILURES)  # noqa: S101 - a new reason needs a word
#: The steps of an answer, in their order.
PHASE_WORDS = dict(zip(PHASES, ("find the address", "connect", "encrypt", "wait", "receive"), strict=True))

ALL_CHECKS = link_to(UID, "Show all checks", tier="$__all", check="$__all")
ONE_CHECK = link_to(UID, "Show this check", tier="$__all", check="${__field.labels.check}")
ROW_CHECK = link_to(UID, "Show this check", tier="$__all", check="${__data.fields.Check}")
EXPORTER = link_to("exporter", "Look at the exporter")

#: A space that does not break lines, and what separates the parts of a card's name.
SPACE = "\u00a0"
DOT = f"\u00b7{SPACE}"

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
    why = f"group by (check, reason) (topk by (check) (1, {failures}) and on (check) {down})"
    for reason, word in words.PROBES.items():
        why = f'label_replace({why}, "why", "{DOT}{word.replace(" ", SPACE)}", "reason", "{reason}")'
    labels = {
        "took": label("took", f"$1{SPACE}ms", f'count_values by (check) ("ms", {took})', "ms"),
        "answer": label("answer", "$1", f'count_values by (check) ("status", {status})', "status"),
        "why": why,
    }
    joins = (f"* on (check) group_left ({name}) ({source} or on (check) {EVERY})" for name, source in labels.items())
    return f"sort_desc({' '.join((STATE, *joins))})"


def label(name: str, text: str, source: str, old: str) -> str:
    """A label made of another one, with what separates it from the one before it; its spaces do not break lines."""
    return f'label_replace({source}, "{name}", "{DOT}{text}", "{old}", "(.+)")'


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
                "How many checks find their service down. See which ones below, and what to do in the alert's runbook.",
                count_of("down"),
                colour=DOWN,
            ),
            count(
                102,
                "Degraded",
                "How many checks get an answer that is too slow. Where the time goes stands under Detail.",
                count_of("degraded"),
                colour=DEGRADED,
            ),
            count(
                103, "Up", "How many checks find their service well. There is nothing to do.", count_of("up"), colour=UP
            ),
            count(
                104,
                "No data",
                "How many checks were known within the last hour and are not now. Look at the exporter, unless they "
                "were taken out of its configuration.",
                missing,
                colour=UNKNOWN,
                link=EXPORTER,
            ),
            count(
                105,
                "All checks",
                "How many checks are known now. Click to see all of them again, after looking at one.",
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
                decimals=1,
                steps=((None, UNKNOWN), (-VERY_LONG, DOWN), *CERTIFICATE[1:]),
                link=ALL_CHECKS,
            ),
            ALERTS.card(106, TIER, link=ALL_CHECKS),
            stat_panel(
                107,
                "Checks, the worst first",
                "One card for each check: its state, how long the service took to answer (ms: thousandths of a "
                "second), the status of the answer (200: all right) and, while it is down, why. Click one to see "
                "only that.",
                [Query(cards(), "{{check}} {{took}} {{answer}} {{why}}")],
                HALF,
                no_value=NO_DATA,
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
    failures = f'rounds_check_failures_total{{{SELECTED},reason="%s"}}'
    failed = f"sum({risen(f'check:rounds_check_failures_total:sum{{{SELECTED}}}', 'check')})"
    probed = f"sum({risen(f'check:rounds_check_probes_total:sum{{{SELECTED}}}', 'check')})"
    return Row(
        200,
        "History: $check",
        [
            timeline(
                201,
                "State of each check",
                "When each service was up, degraded or down, as its check judged. A gap is time in which nothing is "
                "known: look at the exporter. Changes at the same time point to a common cause.",
                [Query(selected("check:rounds_check_state:code"), "{{check}}")],
                WHOLE,
                no_value="No data: is the exporter up?",
                texts=STATES,
                link=ONE_CHECK,
            ),
            graph(
                202,
                "Response time",
                "How long each service took to answer when it was last asked. Dashed: from there on the first of these "
                "checks counts as degraded, or as down. A gap: it did not answer at all.",
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
                "How many of the selected checks were in each state. Where the sum falls, nothing is known of some: "
                "look at the exporter.",
                [
                    Query(f'sum(max by (check) (rounds_check_state{{state="{state}",{SELECTED}}}))', state)
                    for state in ("up", "degraded", "down")
                ],
                HALF,
                no_value="No data: is the exporter up?",
                unit="none",
                style="area",
                colours=STATE_COLOURS,
                decimals=0,
            ),
            grid(
                204,
                "Availability and error budget",
                f"How often the service was there when asked; the aim is {objective:.1%}, and below it is red. The "
                "rest is the error budget: what is left of it for 30 days, and how many times too fast it is used "
                f"up. From {slow:g} on plan a repair, from {fast:g} on repair now.",
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
                        "Use, 1 h",
                        selected("check:rounds_check_burn:rate1h"),
                        unit="none",
                        decimals=1,
                        steps=burning,
                        width=95,
                    ),
                    Column(
                        "Use, 24 h",
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
                "Use of the error budget, last hour",
                "How many times too fast each service uses up the outages that it may have. At 1 they last for 30 "
                f"days. Above the dashed line, {fast:g}, an alert fires: stop what causes it, such as a new version.",
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
                "How often each service was down, how long in all, and how long on average. Many short ones: does it "
                "restart by itself? Few long ones: who notices, and who repairs it?",
                [
                    Column("Check", "check", label=True, link=ROW_CHECK),
                    Column("Outages", outages, unit="none", decimals=0, width=85),
                    Column("Time down", seconds_down, unit="s", decimals=1, width=110),
                    Column("On average", f"{seconds_down} / ({outages} > 0)", unit="s", decimals=1, width=100),
                ],
                THIRD,
                no_value="No data: is the exporter up?",
                sort=("Time down", True),
            ),
            graph(
                207,
                "Failures by reason",
                "How often services were found down, by what went wrong. No connection, name not found, no "
                "encryption: the network, or the program is not there. Wrong status or content: the service itself. "
                "No answer in time, too slow: it has too much to do.",
                [Query(f"sum({risen(failures % reason, 'check')})", word) for reason, word in words.PROBES.items()],
                THIRD,
                no_value="No data: is the exporter up?",
                unit="locale",
                style="bars",
                points=BARS,
                soft_maximum=1,
                decimals=0,
                colours=words.colours(words.PROBES.values()),
            ),
            graph(
                208,
                "Times asked",
                "How often services were asked, and how often one was found down. If it gets less, the exporter has "
                "too much to do, or was configured anew.",
                [
                    Query(f"{probed} - {failed}", "not down"),
                    Query(failed, "down"),
                ],
                THIRD,
                no_value="No data: is the exporter up?",
                unit="locale",
                style="bars",
                points=BARS,
                soft_maximum=1,
                decimals=0,
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
    # Addresses that need not be found have no such phase.
    phases = f"rounds_check_phase_seconds{{{SELECTED}}}"
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
                "What is checked, what was found last, and how it is configured. To see what the check of NAME "
                "meets step by step, ask the exporter for `/probe?check=NAME&debug=true`.",
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
                    Column("HTTP status", selected("rounds_check_http_status_code"), unit="none", width=100),
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
                no_value="No data: is the exporter up?",
                sort=("State", True),
            ),
            graph(
                302,
                "Where the time goes",
                "The time of an answer by its steps, on average of the selected checks. Find the address: the name "
                "server. Connect: the network, or a full server. Encrypt: its certificate. Wait: the service works. "
                "Receive: a large or slow answer.",
                [
                    Query(f'avg({phases[:-1]},phase="{phase}"}}) or 0 * avg({phases})', word)
                    for phase, word in PHASE_WORDS.items()
                ],
                HALF,
                no_value="No answer in this time",
                unit="s",
                style="area",
                colours=dict(zip(PHASE_WORDS.values(), PARTS, strict=False)),
            ),
            graph(
                303,
                "How the response time is spread",
                "Half of the answers took no longer than the first line, 90, 95 and 99 of 100 no longer than the "
                "others. Where these lie far apart, the service is slow for some of its requests only.",
                [
                    Query(
                        f"histogram_quantile({share}, sum by (le) (rate({bucket}[$__rate_interval])))",
                        name,
                        step=PROBES_STEP,
                    )
                    for name, share in SHARES.items()
                ],
                HALF,
                no_value="No answer in this time",
                unit="s",
                log=True,
                colours=SHARE_COLOURS,
            ),
            bars(
                304,
                "Answers that took at most",
                "Which share of the answers in the time shown came within so many seconds. Where this stops rising "
                "is a good limit for a check.",
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
                decimals=0,
            ),
            timeline(
                305,
                "HTTP status",
                "The status of each check's last answer: blue is an answer as asked for, orange a question that the "
                "service does not accept, red a fault of the service. A gap: no answer; see Failures by reason.",
                [Query(selected("rounds_check_http_status_code"), "{{check}}")],
                TWO_THIRDS,
                no_value="No answer in this time",
                texts={},
                ranges=((100, 399, NEUTRAL), (400, 499, DEGRADED), (500, 599, DOWN)),
                link=ONE_CHECK,
            ),
            grid(
                306,
                "Certificates",
                "How long the certificate of each service, its proof of identity, is still valid. Renew an orange "
                "one this week, a red one now, and find out why that did not happen by itself.",
                [
                    Column("Check", "check", label=True, link=ROW_CHECK),
                    Column("Valid for", f"{expiry} - time()", unit="s", decimals=1, steps=CERTIFICATE),
                    Column("Ends at", f"1000 * {expiry}", unit="dateTimeAsIso", width=180),
                ],
                HALF,
                no_value="Nothing here is encrypted",
                sort=("Valid for", False),
            ),
            graph(
                307,
                "Failures in a row",
                "How often in a row a service was found down. A steep line that does not break is an outage; teeth "
                "are a service that comes and goes.",
                [Query(selected("rounds_check_consecutive_failures"), "{{check}}")],
                HALF,
                no_value="No data: is the exporter up?",
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
