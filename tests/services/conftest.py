"""Fixtures of the tests of services."""

from __future__ import annotations

import pytest

from support.certificates import Authority


@pytest.fixture(scope="session")
def ca_file(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The authority's certificate, to be trusted."""
    return str(authority.write(tmp_path_factory.mktemp("authority"), "ca")[0])
