"""Puts the revision of the source into what is built from it. All else is in pyproject.toml.

The revision is ROUNDS_REVISION where that is set, as in a container that has no history; else what git says of a
checkout; else, in an unpacked sdist, what was written when that was made.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

ROOT = Path(__file__).resolve().parent
WRITTEN = Path("rounds/_revision.py")


def revision(root: Path) -> str | None:
    """What to write for a source in a folder; None where nothing is known that is not written already."""
    given = os.environ.get("ROUNDS_REVISION")
    if given:
        if not re.fullmatch(r"[\w.-]{1,64}", given):
            raise SystemExit("ROUNDS_REVISION should be one word of letters, digits and . _ -")
        return given
    # Else git would speak of a repository that this folder happens to lie in.
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return None


def write(file: Path) -> None:
    """Write the module into a folder that is being built."""
    known = revision(ROOT)
    if known is None:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    # Another file may be there as a hard link to the source.
    file.unlink(missing_ok=True)
    file.write_text(f'"""Written when this was built."""\n\nREVISION = "{known}"\n', encoding="utf-8")


class BuildModules(build_py):  # type: ignore[misc]
    """Adds the revision to a wheel, but not to an editable installation: a checkout's changes."""

    def run(self) -> None:
        """Build all modules."""
        super().run()
        if not self.editable_mode:
            write(Path(self.build_lib) / WRITTEN)


class SourceArchive(sdist):  # type: ignore[misc]
    """Adds the revision to the sdist, where git cannot be asked any more."""

    def make_release_tree(self, base_dir: str, files: Sequence[str]) -> None:
        """Gather all files."""
        super().make_release_tree(base_dir, files)
        write(Path(base_dir) / "exporter" / WRITTEN)


if __name__ == "__main__":  # scripts/dist.py asks for the revision
    setup(cmdclass={"build_py": BuildModules, "sdist": SourceArchive})
