"""PromQL for the metrics of one domain, which share a prefix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from grafana.src.counters import risen, within


def is_(label: str, value: str) -> str:
    """The matcher of a label's value."""
    return f'{label}="{value}"'


@dataclass(frozen=True)
class Metrics:
    """A domain's metrics, called without what they all begin with."""

    prefix: str

    def series(self, metric: str, *matchers: str) -> str:
        """The series of a metric that match."""
        return f"{self.prefix}{metric}{{{','.join(matchers)}}}"

    def of(self, metric: str, *matchers: str, by: str = "") -> str:
        """A gauge: the highest, where several exporters read the same source."""
        grouping = f"by ({by}) " if by else ""
        return f"max {grouping}({self.series(metric, *matchers)})"

    def grown(self, counter: str, window: str, *matchers: str, by: str = "") -> str:
        """By how much counters of the ledger rose in a time."""
        grouping = f" by ({by})" if by else ""
        return f"sum{grouping} ({within(self.series(counter, *matchers), window)})"

    def rising(self, counter: str, *matchers: str, by: str) -> str:
        """By how much counters of the ledger rose in each slice of a graph."""
        return risen(self.series(counter, *matchers), by)

    def average(self, histogram: str, window: str, *matchers: str, by: str = "") -> str:
        """The average of what a histogram observed in a time; nothing where it observed nothing."""
        total, number = (self.grown(f"{histogram}_{part}", window, *matchers, by=by) for part in ("sum", "count"))
        return f"{total} / ({number} > 0)"

    def slices(self, histogram: str, bounds: Sequence[float], counts: str, *matchers: str) -> list[str]:
        """How many of a histogram's observations are up to each bound and above the one before, and above the last.

        ``counts`` is PromQL that counts them, in which ``COUNTER`` stands for a bucket.
        """

        def below(bound: str) -> str:
            # As the exporter writes it, or Prometheus from its third version on. Both write longer numbers differently.
            return counts.replace("COUNTER", self.series(f"{histogram}_bucket", *matchers, f'le=~"{bound}"'))

        written = [*(f"{bound:.0f}([.]0)?" for bound in bounds), "[+]Inf"]
        return [below(written[0]), *(f"{below(high)} - {below(low)}" for low, high in pairwise(written))]
