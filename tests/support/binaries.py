"""Servers and tools that tests need from outside Python."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest


def require_binary(*names: str) -> Path:
    """The first of these programs that is installed.

    Without any, the test is skipped, with the reason, on a laptop, and fails in continuous integration.
    """
    for name in names:
        found = shutil.which(name)
        if found:
            return Path(found)
    reason = f"{' or '.join(names)} is not installed"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
