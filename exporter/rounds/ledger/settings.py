"""The section ``state``: where the ledger is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, WithJsonSchema, model_validator
from sqlalchemy import URL

from rounds.documents import Text
from rounds.fields import SHOWN_TYPE, Duration, FilePath, Model, Secret, SecretFile, exclusive, problem

DEFAULT_URL = "sqlite:////var/lib/rounds/state.db"

_SQLITE = "sqlite:///"
#: Servers end transactions that are idle after whole seconds; a third of it must be enough to renew it.
_SHORTEST_LEASE = 3
#: So that another exporter has taken over before ExporterDown and LeaseNotHeld fire, which wait for a minute.
_LONGEST_LEASE = 30
_DRIVERS = {"mariadb": "mysql+pymysql", "mysql": "mysql+pymysql", "postgresql": "postgresql+psycopg"}


def _state_url(value: object) -> str:
    if not isinstance(value, str):
        raise problem("should be text; put it in quotes")
    scheme = value.partition("://")[0].lower()
    if scheme != "sqlite" and scheme not in _DRIVERS:
        raise problem("should start with sqlite://, mariadb:// or postgresql://")
    if "@" in value.partition("://")[2].partition("/")[0]:
        raise problem("should hold no user or password; they have keys of their own")
    if re.search(r"[?#\x00-\x1f]", value):
        raise problem("should hold nothing behind the database's name")
    return _sqlite_url(value) if scheme == "sqlite" else _server_url(value)


def _sqlite_url(value: str) -> str:
    path = value[len(_SQLITE) :]
    if value[: len(_SQLITE)].lower() != _SQLITE or not path or path.startswith(":memory:") or path.endswith("/"):
        raise problem(f"should name a file, such as {DEFAULT_URL}; a relative path has three slashes before it")
    folder = value.folder if isinstance(value, Text) else Path()
    return _SQLITE + str(folder / path)


def _server_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or port == 0 or not re.fullmatch(r"/[^/\s]+", parts.path):
        raise problem("should name a server and a database, such as mariadb://host:3306/rounds")
    return value


class State(Model):
    """The ledger: the one database that lasts. Opened only when a configured domain keeps something."""

    url: Annotated[
        str, BeforeValidator(_state_url), WithJsonSchema({"type": "string", "format": "uri", SHOWN_TYPE: "URL"})
    ] = DEFAULT_URL
    """A SQLite file (``sqlite:///`` and its path, so that an absolute one has four slashes), or a database of a server:
    ``mariadb://host:3306/rounds`` (``mysql`` is accepted too), ``postgresql://host:5432/rounds``. It holds no
    credentials."""
    user: str | None = None
    """With a server, and required there: who logs in. The user needs all rights on the database, and nothing else."""
    password: Secret | None = None
    """The user's password."""
    password_file: SecretFile | None = None
    """A file that holds it."""
    salt_file: FilePath | None = None
    """Holds the installation's salt, 22 random characters; it is made, readable by its owner only, when it is missing.
    Beside a SQLite file when absent, with ``.salt`` behind its name. Required with a server, so that the salt is kept
    apart from the ledger."""
    lease: Duration | None = None
    """For two exporters on one ledger: the one that holds the lease counts, the other stands by and takes it once it
    was not renewed for so long. From 3s to 30s; servers only. Without it a ledger belongs to one exporter."""

    @model_validator(mode="after")
    def _credentials(self) -> Self:
        exclusive(self, "password", "password_file")
        credentials = [name for name in ("user", "password", "password_file") if name in self.model_fields_set]
        if self.path is not None:
            if credentials:
                raise problem("is for servers; a SQLite file has none", credentials[0])
            if self.lease is not None:
                raise problem(
                    "is for servers: exporters cannot share a SQLite file; keep the ledger in MariaDB or PostgreSQL",
                    "lease",
                )
            return self
        if not self.user:
            raise problem("is required with a server", "user")
        if self.salt_file is None:
            raise problem("is required with a server: the salt is kept apart from the ledger", "salt_file")
        if self.lease is not None and not _SHORTEST_LEASE <= self.lease <= _LONGEST_LEASE:
            raise problem("should be from 3s to 30s", "lease")
        return self

    @property
    def path(self) -> Path | None:
        """The SQLite file, None where the ledger is on a server."""
        return Path(self.url.removeprefix(_SQLITE)) if self.url.startswith(_SQLITE) else None

    @property
    def salt_path(self) -> Path:
        """The file that holds the salt."""
        return self.salt_file or Path(f"{self.path}.salt")

    @property
    def engine_url(self) -> URL:
        """With credentials, as SQLAlchemy takes it."""
        if self.path is not None:
            return URL.create("sqlite", database=str(self.path))
        parts = urlsplit(self.url)
        secret = self.password or self.password_file
        return URL.create(
            _DRIVERS[parts.scheme],
            username=self.user,
            password=secret.reveal() if secret else None,
            host=parts.hostname,
            port=parts.port,
            database=parts.path[1:],
        )
