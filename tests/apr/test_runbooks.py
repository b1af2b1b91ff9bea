"""The statements that the runbooks ask for can be run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.apr import Installation

RUNBOOKS = sorted((Path(__file__).parents[2] / "docs" / "runbooks").glob("Apr*.md"))


def statements(runbook: Path) -> list[str]:
    blocks = re.findall(r"^```sql\n(.+?)^```", runbook.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [statement.strip() for block in blocks for statement in block.split(";") if statement.strip()]


@pytest.mark.parametrize("runbook", [each for each in RUNBOOKS if statements(each)], ids=lambda each: str(each.stem))
def test_statements_run(on_mariadb: Installation, runbook: Path) -> None:
    for statement in statements(runbook):
        on_mariadb.sql(statement)


@pytest.mark.parametrize("runbook", RUNBOOKS, ids=lambda each: str(each.stem))
def test_statements_show_no_name(runbook: Path) -> None:
    """What is run in haste is pasted somewhere. The summary has numbers only."""
    for statement in statements(runbook):
        shown = re.sub(r"GROUP BY.*", "", statement, flags=re.DOTALL)
        assert not re.search(r"CEDENTE|GERENTE|PRODUTO|MOTIVO|usuario_", shown)
        assert "*" not in re.sub(r"COUNT\(\*\)", "", shown) or "FROM apr_daily_summary" in shown
