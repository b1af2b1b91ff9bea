"""Sessions with a MariaDB server that speaks TLS."""

from __future__ import annotations

from pathlib import Path

from support.certificates import self_signed
from support.databases import databases_for
from support.mariadb import mariadb_server


def test_a_session_is_encrypted_where_the_server_can(tmp_path: Path) -> None:
    certificate, key = self_signed("127.0.0.1").write(tmp_path, "server")
    with mariadb_server(f"--ssl-cert={certificate}", f"--ssl-key={key}") as server:
        source = server.source(server.create_database())
        with databases_for({"s": source}).open("s") as session:
            (_, version), *_ = session.all("SHOW SESSION STATUS LIKE 'Ssl_version'")
    assert version in {"TLSv1.2", "TLSv1.3"}
