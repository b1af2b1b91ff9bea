#!/usr/bin/env python3
"""Says which of Grafana's optional data sources there are: the journal, the pipeline's records, the history of syncs.

Each is chosen by its variable NAME_KIND, and then needs NAME_HOST, NAME_DATABASE, NAME_USER and NAME_PASSWORD. Grafana
itself would start without them and show errors in panels.

Exit codes: 0 done, 2 a data source is chosen, but not described.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

SOURCES = {
    "JOURNAL": "the journal of watched tables",
    "APR": "the records of the proposal pipeline",
    "SYNCS": "the history of syncs",
}
NEEDED = ("HOST", "DATABASE", "USER", "PASSWORD")


def described(environment: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """What is to be said of each, and what is wrong."""
    lines, problems = [], []
    for prefix, name in SOURCES.items():
        kind = environment.get(f"{prefix}_KIND") or "none"
        if kind == "none":
            lines.append(f"{name}: not configured ({prefix}_KIND)")
            continue
        missing = [variable for variable in (f"{prefix}_{each}" for each in NEEDED) if not environment.get(variable)]
        if missing:
            problems.append(
                f"{prefix}_KIND is {kind}, but {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set"
            )
        lines.append(f"{name}: from {kind}")
    return lines, problems


def main() -> int:
    """Run the command; returns its exit code."""
    lines, problems = described(os.environ)
    if problems:
        print(*(f"optional_sources.py: {problem}" for problem in problems), sep="\n", file=sys.stderr)
        return 2
    print("Besides Prometheus and Alertmanager, Grafana reads:", *lines, sep="\n    ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
