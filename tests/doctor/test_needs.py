"""What domains say that they need is what they need: enough to run, and what their pages tell people to grant."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from rounds.cli import main
from rounds.config import load_config
from rounds.domains import all_domains
from rounds.needs import AddressNeed, FileNeed, Need, SourceNeed, TableNeed
from support.apr import mariadb_installation
from support.databases import sources_yaml
from support.doctor import PASSWORD, REPOSITORY, Installation
from support.syncs import sync_table


def needs_of(file: Path) -> Iterator[Need]:
    """What the configured domains need."""
    domains = all_domains()
    config = load_config([file], {domain.name: domain.section for domain in domains})
    for domain in domains:
        section = getattr(config, domain.name)
        if section is not None:
            yield from domain.needs(section)


def grants(page: str) -> list[str]:
    """What a page tells to grant to the exporter's user."""
    text = (REPOSITORY / "docs" / page).read_text(encoding="utf-8")
    return re.findall(r"\n(GRANT [^;]* TO rounds\b[^;]*);", text)


class World:
    """A server's database with tables of a domain, and a user without rights."""

    def __init__(self, installation: Installation, server: Any, database: str, section: str) -> None:
        self.installation = installation
        self.server = server
        self.database = database
        self.kind = "mariadb" if hasattr(server, "url") and "mysql" in server.url(database) else "postgresql"
        self.user = f"u_{database}"
        host = "@'127.0.0.1'" if self.kind == "mariadb" else ""
        made = f"CREATE USER {self.user}{host} IDENTIFIED BY '{PASSWORD}'"
        server.sql(made if host else f"CREATE ROLE {self.user} LOGIN PASSWORD '{PASSWORD}'")
        self.grantee = f"{self.user}{host}"
        source = server.source(database, user=self.user, password=PASSWORD)
        state = f"state: {{url: 'sqlite:///{installation.state()}'}}\n"
        installation.file.write_text(sources_yaml({"s": source}) + state + section, encoding="utf-8")
        installation.file.chmod(0o600)

    def grant(self, statements: Sequence[str]) -> None:
        """Grant what a page says, to this user on this database."""
        for statement in statements:
            words = statement.replace("rounds@'10.0.0.%'", self.grantee)
            words = re.sub(r"\brounds\b", self.user, words)
            words = re.sub(r"\b(BMA|clinic)\b", self.database, words)
            self.server.sql(words, database=self.database)

    def grant_needed(self) -> None:
        """Grant the columns that the domain says, and no others."""
        for need in needs_of(self.installation.file):
            assert isinstance(need, TableNeed)
            assert need.columns is not None
            columns = ", ".join((*need.columns, *need.optional))
            self.server.sql(f"GRANT SELECT ({columns}) ON {need.table[-1]} TO {self.grantee}", database=self.database)

    def runs(self, collector: str) -> bool:
        """Whether the exporter can do its work."""
        return main(["once", f"--config.file={self.installation.file}", f"--collector={collector}"]) == 0


@pytest.fixture
def apr(installation: Installation) -> World:
    made = mariadb_installation(installation.mariadb)
    labels = "labels: {cedente: 1, gerente: 1, produto: 1}"
    return World(installation, installation.mariadb, made.source.database, f"apr: {{source: s, {labels}}}\n")


@pytest.fixture(params=["postgresql", "mariadb"])
def syncs(installation: Installation, request: pytest.FixtureRequest) -> World:
    server = request.getfixturevalue(request.param)
    made = sync_table(request.param, server, "real")
    return World(installation, server, made.source.database, "syncs: [{name: a, source: s}]\n")


def test_what_apr_names_is_enough(apr: World, capfd: pytest.CaptureFixture[str]) -> None:
    apr.grant_needed()
    assert apr.runs("apr")
    assert "rounds_apr_invalid_records_by_gerente{" in capfd.readouterr().out  # which the labels ask for
    assert apr.installation.doctor().problems == []


def test_what_syncs_names_is_enough(syncs: World) -> None:
    syncs.grant_needed()
    assert syncs.runs("syncs/a")
    assert syncs.installation.doctor().problems == []


def test_what_is_documented_for_apr_is_content(apr: World) -> None:
    documented = grants("apr.md")
    assert len(documented) == 6
    apr.grant(documented)
    diagnosis = apr.installation.doctor()
    assert diagnosis.problems == []
    assert len(diagnosis.about("ok", "grants", "s: apr_")) == 6


def test_what_is_documented_for_syncs_is_content(syncs: World) -> None:
    is_mariadb = syncs.kind == "mariadb"
    documented = [each for each in grants("syncs.md") if ("@" in each) is is_mariadb]
    assert documented
    syncs.grant(documented)
    diagnosis = syncs.installation.doctor()
    assert diagnosis.problems == []
    assert diagnosis.about("ok", "grants", "s: sync_logs")


def test_without_grants_everything_that_is_missing_is_named(apr: World) -> None:
    apr.server.sql("CREATE TABLE nothing (id INT)", database=apr.database)
    apr.server.sql(f"GRANT SELECT ON nothing TO {apr.grantee}", database=apr.database)
    diagnosis = apr.installation.doctor()
    missing = diagnosis.about("error", "grants", "apr_")
    assert len(missing) == 6
    for finding in missing:
        apr.server.sql(*finding["remedy"])
    assert apr.installation.doctor().problems == []


def test_every_domain_says_what_it_needs(installation: Installation) -> None:
    installation.file.write_text(
        """
sources:
  api: {kind: http, url: "http://127.0.0.1:1"}
  app: {kind: sqlite, path: app.db}
  clinic: {kind: sqlite, path: clinic.db}
tables: [{name: a, source: clinic, table: '"My table".b', key: [x, y]}]
syncs: [{name: a, source: api, api: logs, organizations: {only: ["1"]}}]
services:
  checks:
    - {name: a, url: "http://a.example/x?key=1", bearer_token: t}
    - {name: b, kind: tcp, host: "::1", port: 5}
emr:
  - name: a
    source: app
    checks: {database: {path: d.db}, llm: {}, disk: {path: .}, backup: [{folder: b}, {name: c, table: t.db}]}
""",
        encoding="utf-8",
    )
    needs = list(needs_of(installation.file))
    assert TableNeed("tables[0]", "clinic", ("My table", "b")) in needs
    assert SourceNeed("syncs[0]", "api") in needs
    assert AddressNeed("services.checks[0]", "http://a.example/x?key=1", secret=True) in needs
    assert AddressNeed("services.checks[1]", "tcp://[::1]:5") in needs
    assert AddressNeed("emr[0].checks.llm", "http://localhost:11434") in needs
    files = {need.where: need.path.name for need in needs if isinstance(need, FileNeed)}
    assert files == {
        "emr[0].checks.database": "d.db",
        "emr[0].checks.disk": installation.folder.name,
        "emr[0].checks.backup[0]": "b",
        "emr[0].checks.backup[1]": "t.db",
    }
    assert all(need.may_be_absent for need in needs if isinstance(need, TableNeed) and need.where == "emr[0]")
