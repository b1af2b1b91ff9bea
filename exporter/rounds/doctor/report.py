"""Findings as text for people and as JSON for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict

from rounds.doctor.finding import GROUPS, LEVELS, Finding, worst

_WIDTH = len("warning")


def as_text(findings: list[Finding]) -> str:
    """Grouped by kind of examination, the worst last in each; beneath each what mends it."""
    lines: list[str] = []
    for group in GROUPS:
        found = [finding for finding in findings if finding.group == group]
        if found:
            lines += [group, *_lines(sorted(found, key=lambda each: LEVELS.index(each.level))), ""]
    return "\n".join([*lines, _summary(findings)]) + "\n"


def as_json(findings: list[Finding]) -> str:
    """One object: the worst level, how many findings of each, and the findings."""
    count = Counter(finding.level for finding in findings)
    whole = {
        "worst": worst(findings),
        "count": {level: count[level] for level in LEVELS},
        "findings": [asdict(finding) for finding in findings],
    }
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


FORMATS: dict[str, Callable[[list[Finding]], str]] = {"json": as_json, "text": as_text}


def _lines(findings: list[Finding]) -> list[str]:
    lines = []
    for finding in findings:
        level = finding.level if finding.level in ("ok", "hint") else finding.level.upper()
        lines.append(f"  {level:<{_WIDTH}}  {finding.subject}: {finding.found}")
        lines += [f"  {'':<{_WIDTH}}    -> {line}" for line in finding.remedy]
    return lines


def _summary(findings: list[Finding]) -> str:
    count = Counter(finding.level for finding in findings)
    told = [
        f"{count[level]} {level}{'s' if count[level] > 1 else ''}" for level in reversed(LEVELS[1:]) if count[level]
    ]
    return ", ".join(told) if told else "nothing is wrong"
