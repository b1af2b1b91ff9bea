"""An installation of each test's own, beside which nothing else runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from rounds.demo.ports import pick_port
from rounds.doctor import command, network
from support.doctor import Installation, examiner


@pytest.fixture
def installation(
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Installation:
    """One without anything yet. What listens at the usual addresses of this machine is none of its own."""
    for name in ("EXPORTER", "PROMETHEUS", "ALERTMANAGER"):
        monkeypatch.setattr(command, name, f"http://127.0.0.1:{pick_port()}")
    monkeypatch.setattr(network, "in_container", lambda: False)
    # Reading all dashboards takes longer than all the rest.
    found = command._bundle
    monkeypatch.setattr(command, "_bundle", lambda given: found(given) if given else None)
    tmp_path.chmod(0o755)
    return Installation(tmp_path, request.getfixturevalue, examiner(capfd))
