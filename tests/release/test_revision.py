"""Which revision a checkout says it is."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import pytest

from release.conftest import ROOT
from rounds.version import checked_out, program_version
from support.binaries import require_binary


def git(folder: Path, *words: str) -> str:
    command = [
        str(require_binary("git")),
        "-C",
        str(folder),
        "-c",
        "user.name=x",
        "-c",
        "user.email=x@example.org",
        *words,
    ]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "commit", "--quiet", "--allow-empty", "--message=one")
    return folder


def head(folder: Path) -> str:
    return git(folder, "rev-parse", "--short=12", "HEAD")


def test_a_branch(repository: Path) -> None:
    assert checked_out(repository) == head(repository)
    before = head(repository)
    git(repository, "commit", "--quiet", "--allow-empty", "--message=two")
    assert checked_out(repository) == head(repository) != before


def test_branches_that_git_has_packed(repository: Path) -> None:
    git(repository, "branch", "other/main", "HEAD")
    git(repository, "pack-refs", "--all")
    assert not (repository / ".git/refs/heads/main").exists()
    assert checked_out(repository) == head(repository)


def test_a_commit_without_a_branch(repository: Path) -> None:
    git(repository, "checkout", "--quiet", "--detach")
    assert checked_out(repository) == head(repository)


@pytest.mark.parametrize("packed", [False, True])
def test_a_further_worktree(repository: Path, tmp_path: Path, packed: bool) -> None:
    git(repository, "worktree", "add", "--quiet", "-b", "side/branch", str(tmp_path / "tree"))
    git(tmp_path / "tree", "commit", "--quiet", "--allow-empty", "--message=two")
    if packed:
        git(repository, "pack-refs", "--all")
    assert checked_out(tmp_path / "tree") == head(tmp_path / "tree") != head(repository)


def test_nothing_is_known_of_other_folders(tmp_path: Path) -> None:
    assert checked_out(tmp_path) is None
    git(tmp_path, "init", "--quiet")
    assert checked_out(tmp_path) is None, "there is no commit yet"
    (tmp_path / ".git/HEAD").write_bytes(b"\xff")
    assert checked_out(tmp_path) is None


def test_the_version_is_everywhere_the_same() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert program_version() == project["version"]
    dockerfile = (ROOT / "exporter/Dockerfile").read_text(encoding="utf-8")
    assert f'org.opencontainers.image.version="{project["version"]}"' in dockerfile
