"""Compares clocks with this machine's."""

from __future__ import annotations

from rounds.doctor.finding import Finding

#: Seconds that clocks may differ.
_MOST = 5.0


def compare(subject: str, there: float, before: float, after: float, *, exact: float = 0.0) -> Finding:
    """Whether a clock agrees.

    Args:
        subject: whose clock it is.
        there: what it says, in Unix seconds.
        before: this machine's time when it was asked.
        after: this machine's time when the answer was there.
        exact: seconds by which it may be off because it tells whole seconds only.
    """
    ahead = there - (before + after) / 2
    if abs(ahead) <= _MOST + exact + (after - before) / 2:
        told = "less than a second" if abs(ahead) < 1 + exact else f"{abs(ahead):.1f} s"
        return Finding("ok", "clocks", subject, f"differs from this machine's clock by {told}")
    way = "ahead of" if ahead > 0 else "behind"
    remedies = (
        "run a time service on both machines: timedatectl set-ntp true",
        "see which of them is wrong: date -u",
    )
    return Finding("warning", "clocks", subject, f"is {_shown(abs(ahead))} {way} this machine's clock", remedies)


def _shown(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
