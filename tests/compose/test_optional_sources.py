"""Grafana's optional data sources: what is said of them, and which are refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "grafana" / "optional_sources.py"
JOURNAL = {"JOURNAL_HOST": "db:3306", "JOURNAL_DATABASE": "rounds", "JOURNAL_USER": "u", "JOURNAL_PASSWORD": "hidden"}


def run(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT], env=environment, capture_output=True, text=True, check=False)


def test_without_settings_each_is_named_with_the_variable_that_turns_it_on() -> None:
    done = run({"JOURNAL_KIND": "", "APR_KIND": "none"})
    assert done.returncode == 0
    for variable in ("JOURNAL_KIND", "APR_KIND", "SYNCS_KIND"):
        assert f"not configured ({variable})" in done.stdout


def test_one_that_is_described_is_told_without_its_secrets() -> None:
    done = run({"JOURNAL_KIND": "mariadb", **JOURNAL})
    assert done.returncode == 0
    assert "the journal of watched tables: from mariadb" in done.stdout
    assert "hidden" not in done.stdout + done.stderr


@pytest.mark.parametrize("missing", JOURNAL)
def test_one_that_is_chosen_and_not_described_is_refused(missing: str) -> None:
    done = run({"JOURNAL_KIND": "mariadb", **JOURNAL, missing: ""})
    assert done.returncode == 2
    assert done.stderr == f"optional_sources.py: JOURNAL_KIND is mariadb, but {missing} is not set\n"
