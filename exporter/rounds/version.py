"""Which Rounds this is: the version, and the revision of the source that it was built from."""

from __future__ import annotations

import functools
import importlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

#: Characters of a revision, as ``git describe --abbrev`` gives them.
LENGTH = 12
_HEX = set("0123456789abcdef")


@functools.cache
def program_version() -> str:
    """The installed version; ``unknown`` when run from a folder that is not installed."""
    try:
        return version("rounds-exporter")
    except PackageNotFoundError:
        return "unknown"


@functools.cache
def program_revision() -> str:
    """The revision that setup.py wrote when it was built; in a checkout the commit that is out; else ``unknown``."""
    try:
        built: str = importlib.import_module("rounds._revision").REVISION
    except ImportError:
        return checked_out(Path(__file__).resolve().parents[2]) or "unknown"
    return built


def checked_out(root: Path) -> str | None:
    """The first characters of the commit that is checked out in a folder, from git's files alone; None where unknown.

    Git itself is not run: it need not be installed, and would take longer than printing the version does.
    """
    try:
        git = root / ".git"
        if git.is_file():  # a further worktree, whose branches are in the first one
            git = root / git.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
        common = git / "commondir"
        shared = git / common.read_text(encoding="utf-8").strip() if common.exists() else git
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        if head.startswith("ref:"):
            head = _commit(shared, head.removeprefix("ref:").strip())
    except (OSError, UnicodeDecodeError):
        return None
    return head[:LENGTH] if len(head) >= LENGTH and set(head) <= _HEX else None


def _commit(git: Path, name: str) -> str:
    """The commit that a branch is at; empty where it has none yet."""
    loose = git / name
    if loose.is_file():
        return loose.read_text(encoding="utf-8").strip()
    packed = git / "packed-refs"
    lines = packed.read_text(encoding="utf-8").splitlines() if packed.is_file() else []
    return next((line.partition(" ")[0] for line in lines if line.endswith(f" {name}")), "")
