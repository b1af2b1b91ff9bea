"""Fixtures of the tests of services."""

from __future__ import annotations

import pytest

from support.certificates import Authority


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority that nobody else trusts."""
    return Authority(tmp_path_factory.mktemp("authority"))
