"""The alerts of a domain, as its dashboard counts, lists and draws them."""

from __future__ import annotations

from dataclasses import dataclass

from grafana.src.kit import NEUTRAL, SEVERITY_COLOURS, Query, Texts
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
    """The alerts of a component."""

    component: str

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

    def gravest(self, by: str, *matchers: str) -> str:
        """The gravest of those that fire, a code of `GRAVEST`."""
        return " or ".join(
            f"{code} * max by ({by}) ({self.firing(*matchers, is_('severity', name))})"
            for name, code in reversed(_CODES.items())
        )
