"""What counters say, exactly. `rate` and `increase` estimate, which is wrong for rows that changed: 2 become 2.05."""

from __future__ import annotations


def within(counter: str, window: str) -> str:
    """By how much a counter of the ledger rose in a time: it begins at 0 and never falls."""
    return f"(max_over_time({counter}[{window}]) - min_over_time({counter}[{window}]))"


def risen(counter: str, labels: str) -> str:
    """By how much a counter rose in each slice of a graph, one value for each combination of labels.

    What is missing for less than an hour is bridged, so that each rise is drawn once. A counter that began anew rises
    from there.
    """
    known = f"max by ({labels}) (last_over_time({counter}[1h]))"
    before = f"max by ({labels}) (last_over_time({counter}[1h] offset $__interval))"
    return f"clamp_min({known} - {before}, 0)"
