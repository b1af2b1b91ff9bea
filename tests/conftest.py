"""What tests of more than one domain share."""

from __future__ import annotations

import pytest

from support.certificates import Authority


@pytest.fixture(scope="session")
def authority() -> Authority:
    """A certificate authority that nobody else trusts."""
    return Authority()
