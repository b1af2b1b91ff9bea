"""What is known of collectors that are called by their domain and what each of them looks at, such as `tables/NAME`."""

from __future__ import annotations

from dataclasses import dataclass

from grafana.src import words
from grafana.src.counters import risen
from grafana.src.kit import BARS, DEGRADED, DOWN, NO_DATA, UNKNOWN, UP, Panel, Query, Texts, graph

from rounds.errors import FAILURE_REASONS

INTERVAL = "rounds_collector_interval_seconds"
STATES: Texts = {0: ("works", UP), 1: ("overdue", DEGRADED), 2: ("fails", DOWN), 3: (NO_DATA, UNKNOWN)}
assert set(words.FAILURES) == set(FAILURE_REASONS)  # noqa: S101 - a new reason needs a word


def failures(number: int, title: str, text: str, matcher: str, size: tuple[int, int]) -> Panel:
    """Failed runs of the collectors that match, by what went wrong: bars that are counted exactly."""
    counter = f'rounds_collector_failures_total{{{matcher},reason="%s"}}'
    return graph(
        number,
        title,
        text,
        [Query(f"sum({risen(counter % reason, 'collector')})", word) for reason, word in words.FAILURES.items()],
        size,
        no_value="No data: nothing was collected in this time",
        unit="locale",
        style="bars",
        points=BARS,
        soft_maximum=1,
        colours=words.colours(words.FAILURES.values()),
        decimals=0,
    )


@dataclass(frozen=True)
class Collectors:
    """The collectors of a domain.

    Attributes:
        domain: what their names begin with.
        label: what the domain's own metrics call the rest of it.
    """

    domain: str
    label: str

    def matching(self, names: str) -> str:
        """The matcher of those for which the rest of the name matches."""
        return f'collector=~"{self.domain}/{names}"'

    def of(self, expr: str) -> str:
        """What is known of collectors, told by what they look at: the highest, where several exporters do."""
        return f'max by ({self.label}) (label_replace({expr}, "{self.label}", "$1", "collector", "{self.domain}/(.+)"))'

    def state(self, matcher: str, stale: str) -> str:
        """Whether each works: a code of `STATES`, without those of which nothing is known.

        ``stale`` is PromQL: the seconds after which one without a success is overdue.
        """
        success = self.of(f"rounds_collector_success{{{matcher}}}")
        limit = stale.replace(INTERVAL, f"{INTERVAL}{{{matcher}}}")
        overdue = self.of(f"time() - rounds_collector_last_success_timestamp_seconds{{{matcher}}} > {limit}")
        return f"(({success} == 0) + 2 or 0 * {overdue} + 1 or 0 * {success})"
