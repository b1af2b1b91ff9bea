"""The alerts of a domain, as its dashboard counts, lists and draws them: alike on every dashboard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from grafana.src.kit import (
    HALF,
    NEUTRAL,
    SEVERITY_COLOURS,
    WHOLE,
    WIDE_CARD,
    Column,
    Panel,
    Query,
    Texts,
    from_one,
    grid,
    runbook,
    stat_panel,
    timeline,
)
from grafana.src.series import is_

#: Words and colours of severities, also of what is only told.
SEVERITIES: Texts = {name: (name, colour) for name, colour in (SEVERITY_COLOURS | {"info": NEUTRAL}).items()}
#: The graver, the higher.
_CODES = {"info": 0, "warning": 1, "error": 2, "critical": 3}
#: What `gravest` gives, in words.
GRAVEST: Texts = {code: SEVERITIES[name] for name, code in _CODES.items()}
#: Not what is only told, which calls for nobody.
CALLING = 'severity!="info"'


@dataclass(frozen=True)
class Alerts:
    """The alerts of a component.

    Attributes:
        component: as the rules call it.
        what: what they are about, in words.
    """

    component: str
    what: str

    def firing(self, *matchers: str) -> str:
        """Those that fire."""
        chosen = ",".join(('alertstate="firing"', is_("component", self.component), *matchers))
        return f"ALERTS{{{chosen}}}"

    def counts(self, *matchers: str, by: str = "") -> list[Query]:
        """How many fire of each severity but those that are only told; one for each of these labels, where given."""
        firing = {name: self.firing(*matchers, is_("severity", name)) for name in SEVERITY_COLOURS}
        if by:
            firing = {name: f"group by ({by}) ({each})" for name, each in firing.items()}
        return [Query(f"count({each}) or vector(0)", name) for name, each in firing.items()]

    def since(self, by: str, *matchers: str) -> str:
        """When each firing alert began, in milliseconds as Grafana wants times."""
        return f"max by ({by}) (1000 * ALERTS_FOR_STATE and ignoring (alertstate) {self.firing(*matchers)})"

    def since_about(self, by: str, subjects: Sequence[str], *matchers: str) -> str:
        """The same, with a label `subject` of whichever of these labels an alert has."""
        names = ", ".join(f'"{name}"' for name in subjects)
        since = self.since(f"{by}, {', '.join(subjects)}", *matchers)
        return f'max by ({by}, subject) (label_join({since}, "subject", "", {names}))'

    def gravest(self, by: str, *matchers: str) -> str:
        """The gravest of those that fire, a code of `GRAVEST`."""
        return " or ".join(
            f"{code} * max by ({by}) ({self.firing(*matchers, is_('severity', name))})"
            for name, code in reversed(_CODES.items())
        )

    def card(self, number: int, *matchers: str, link: tuple[str, str], by: str = "") -> Panel:
        """How many fire: the last card of a dashboard's first line."""
        return stat_panel(
            number,
            "Firing alerts",
            f"How many alerts on {self.what} fire now, by how grave they are. Critical: act now. Error: today. "
            "Warning: have a look. What is only told is not counted.",
            self.counts(*matchers, by=by),
            WIDE_CARD,
            no_value="no data",
            steps=from_one(NEUTRAL),
            link=link,
            names=True,
            colours=SEVERITY_COLOURS,
        )

    def listed(self, number: int, columns: Sequence[Column], since: str) -> Panel:
        """Which fire: what each is about, then its name, how grave it is, and since when."""
        return grid(
            number,
            "Which alerts fire",
            f"Alerts on {self.what} that call for somebody, the latest first. Click a name to read what to do.",
            [
                *columns,
                Column("Alert", "alertname", label=True, link=runbook("Alert")),
                Column("Severity", "severity", label=True, width=90, texts=SEVERITIES),
                Column("Since", since, unit="dateTimeFromNow", width=150),
            ],
            HALF,
            no_value="No alert is firing",
            sort=("Since", True),
        )

    def over_time(self, number: int, by: str, name: str, *matchers: str) -> Panel:
        """When they fired: the last panel of the row History."""
        return timeline(
            number,
            "Alerts over time",
            f"When alerts on {self.what} fired: the gravest at each time. Most are kept a little longer than the "
            "trouble lasts, so that a bar may end later than it did.",
            [Query(self.gravest(by, *matchers), name)],
            WHOLE,
            no_value="No alert fired in this time",
            texts=GRAVEST,
        )
