"""What is built once for all tests of a release."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Release:
    """The files of a release."""

    sdist: Path
    wheel: Path


def build(output: Path) -> Release:
    """Run what `make dist` runs, in an environment that says nothing of its own."""
    subprocess.run([sys.executable, str(ROOT / "scripts/dist.py"), str(output)], check=True)
    (sdist,), (wheel,) = output.glob("*.tar.gz"), output.glob("*.whl")
    return Release(sdist, wheel)


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """A release of this checkout."""
    return build(tmp_path_factory.mktemp("release"))
