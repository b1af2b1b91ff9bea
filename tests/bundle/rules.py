"""The rule files, parsed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
RULES = ROOT / "prometheus" / "rules"
RULE_TESTS = ROOT / "prometheus" / "tests"


@dataclass(frozen=True)
class Rule:
    """One rule and where it stands."""

    file: Path
    group: str
    body: dict[str, Any]

    @property
    def name(self) -> str:
        """The alert's or the recorded series' name."""
        return str(self.body.get("alert") or self.body["record"])

    @property
    def is_alert(self) -> bool:
        """Whether it is an alert."""
        return "alert" in self.body

    @property
    def expr(self) -> str:
        """Its expression."""
        return str(self.body["expr"])


def all_rules() -> Iterator[Rule]:
    """Every rule of every file."""
    for file in sorted(RULES.glob("*.yml")):
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]:
            for body in group["rules"]:
                yield Rule(file, group["name"], body)


def alerts() -> list[Rule]:
    """Every alert."""
    return [rule for rule in all_rules() if rule.is_alert]
