"""What an examination finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

#: From harmless to harmful. ``hint``: could be better. ``warning``: works, but is risky, or soon will not.
Level: TypeAlias = Literal["ok", "hint", "warning", "error"]
Group: TypeAlias = Literal[
    "configuration",
    "files",
    "sources",
    "grants",
    "clocks",
    "ledger",
    "addresses",
    "exporter",
    "prometheus",
    "alertmanager",
    "grafana",
]

LEVELS: tuple[Level, ...] = get_args(Level)
GROUPS: tuple[Group, ...] = get_args(Group)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: how bad it is.
        group: the kind of examination.
        subject: what was looked at, such as a source's name or a file.
        found: what it is like. No secret, nothing of a patient.
        remedy: what to do: commands, statements or lines of configuration, one each.
    """

    level: Level
    group: Group
    subject: str
    found: str
    remedy: tuple[str, ...] = ()


def worst(findings: list[Finding]) -> Level:
    """The worst level among them, ``ok`` where there are none."""
    return max((finding.level for finding in findings), key=LEVELS.index, default="ok")
