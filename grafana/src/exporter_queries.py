"""What is asked about the exporter, and the words and colours of the answers."""

from __future__ import annotations

from grafana.src import limits
from grafana.src.kit import DOWN, PARTS, UP, Texts, link_to

UID = "exporter"
COLLECTOR = 'collector=~"$collector"'
INTERVAL = "rounds_collector_interval_seconds"
#: How the rules and prometheus.yml call the exporter.
JOB = 'job="rounds"'
#: Collectors are called like their domains, or like the domain and what they are of, such as `tables/patients`.
DOMAIN_COLOURS = dict(zip(("services", "tables", "apr", "syncs", "emr"), PARTS, strict=False))
COLLECTOR_SHADES = {f"{domain}/": colour for domain, colour in DOMAIN_COLOURS.items()}

WORKS: Texts = {1: ("works", UP), 0: ("fails", DOWN)}
UP_OR_DOWN: Texts = {1: ("up", UP), 0: ("down", DOWN)}
LOADED: Texts = {1: ("loaded", UP), 0: ("refused", DOWN)}
ALL_COLLECTORS = link_to(UID, "Show all collectors", collector="$__all")
ROW_COLLECTOR = link_to(UID, "Show this collector", collector="${__data.fields.Collector}")
SERVICES = link_to("services", "Look at the services")
TABLES = link_to("tables", "Look at the tables")

SINCE_SUCCESS = f"time() - rounds_collector_last_success_timestamp_seconds{{{COLLECTOR}}}"


def of_collector(metric: str) -> str:
    """A metric of the selected collectors, one value for each."""
    return f"max by (collector) ({metric}{{{COLLECTOR}}})"


def stale_after() -> str:
    """The age from which CollectorStale counts what a collector tells as stale."""
    own = limits.collector_stale().replace(INTERVAL, f"{INTERVAL}{{{COLLECTOR}}}")
    return f"max by (collector) ({own})"
