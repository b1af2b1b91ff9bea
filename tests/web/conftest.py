"""What tests of the web configuration share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from rounds.webconfig import WebConfig
from support.certificates import Authority
from support.web import Serve, running


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the web configuration stands."""
    return tmp_path / "web.yml"


@pytest.fixture
def serve(file: Path) -> Serve:
    """Start a server behind a file's content."""

    @contextlib.contextmanager
    def start(text: str) -> Iterator[int]:
        file.write_text(text, encoding="utf-8")
        with running(WebConfig.load(file)) as port:
            yield port

    return start


@pytest.fixture
def certs(tmp_path: Path, authority: Authority) -> Path:
    """A folder, the file's own, with server.crt, server.key, and the authority's ca.crt."""
    authority.issue("localhost", "127.0.0.1").write(tmp_path, "server")
    (tmp_path / "ca.crt").write_text(authority.cert)
    return tmp_path
