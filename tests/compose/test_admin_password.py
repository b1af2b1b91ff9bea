"""The password of Grafana's first user: given, kept or made."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "grafana" / "admin_password.py"


def run(file: Path, password: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {} if password is None else {"GRAFANA_ADMIN_PASSWORD": password}
    return subprocess.run([sys.executable, SCRIPT, file], env=environment, capture_output=True, text=True, check=False)


def test_one_is_made_and_printed_once(tmp_path: Path) -> None:
    file = tmp_path / "password"
    first = run(file, "")
    made = file.read_text(encoding="utf-8").strip()
    assert len(made) >= 20
    assert first.stdout.splitlines()[1].strip() == made
    assert file.stat().st_mode & 0o777 == 0o400

    again = run(file)
    assert again.returncode == 0
    assert file.read_text(encoding="utf-8").strip() == made
    assert made not in again.stdout


def test_two_are_not_alike(tmp_path: Path) -> None:
    run(tmp_path / "one")
    run(tmp_path / "other")
    assert (tmp_path / "one").read_text(encoding="utf-8") != (tmp_path / "other").read_text(encoding="utf-8")


@pytest.mark.parametrize("password", ["p$$ w#rd \"x\" 'y' \\n", "$HOME", "ü", "$(x)", "{}"])
def test_a_given_one_is_taken_as_it_is_and_not_printed(tmp_path: Path, password: str) -> None:
    file = tmp_path / "password"
    done = run(file, password)
    assert done.returncode == 0
    assert file.read_text(encoding="utf-8") == f"{password}\n"
    assert password not in done.stdout


def test_a_change_is_written_and_the_way_told(tmp_path: Path) -> None:
    """Grafana reads the file when it makes its database, and never again."""
    file = tmp_path / "password"
    run(file, "before")
    done = run(file, "after")
    assert file.read_text(encoding="utf-8") == "after\n"
    assert "reset-admin-password" in done.stdout


@pytest.mark.parametrize("password", ["p\nq", "p\tq", " pq", "pq ", "p${HOME}q", "$__file{/etc/passwd}", "p%(x)s"])
def test_what_would_not_arrive_is_refused(tmp_path: Path, password: str) -> None:
    done = run(tmp_path / "password", password)
    assert done.returncode == 2
    assert "GRAFANA_ADMIN_PASSWORD" in done.stderr
    assert password not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    done = run(tmp_path / "missing" / "password", "x")
    assert done.returncode == 1
    assert "cannot write" in done.stderr


def test_wrong_use() -> None:
    done = subprocess.run([sys.executable, SCRIPT], env=dict(os.environ), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "usage" in done.stderr
