"""Where domains read from: one typed configuration for each kind of source.

Credentials are fields of their own and never part of a text that is parsed, so every character may stand in them.
Drivers are imported by the domain that opens a source, not here.
"""

from __future__ import annotations

from typing import Literal, Self, TypeAlias

from pydantic import model_validator

from rounds.fields import (
    Duration,
    FilePath,
    Given,
    HttpUrl,
    Model,
    Port,
    ReadableFile,
    Secret,
    SecretFile,
    exclusive,
    problem,
)


class _Base(Model):
    timeout: Duration = 30
    """Longest time that a statement may take. The server is told to end it then, and the client waits 2 seconds more;
    a domain may set another time for its own statements."""


class _Server(_Base):
    host: Given
    """The server's name or address."""
    user: Given
    """Who logs in. The user needs SELECT on what is read, and nothing else."""
    password: Secret | None = None
    """The user's password; any character may stand in it."""
    password_file: SecretFile | None = None
    """A file that holds it."""
    database: Given
    """The database that is logged in to, in which names without one are looked up."""

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        exclusive(self, "password", "password_file")
        return self

    @property
    def secret(self) -> Secret | None:
        """The password, wherever it stands."""
        return self.password or self.password_file


class MariadbSource(_Server):
    """A MariaDB or MySQL server."""

    kind: Literal["mariadb"]
    """What it is."""
    port: Port = 3306
    """Its port. TLS is used where the server offers it; its certificate is not verified."""


class PostgresqlSource(_Server):
    """A PostgreSQL server. Its driver is the extra ``postgresql``."""

    kind: Literal["postgresql"]
    """What it is."""
    port: Port = 5432
    """Its port. TLS is used where the server offers it; its certificate is not verified, unless ``PGSSLMODE`` in the
    environment says so."""


class SqliteSource(_Base):
    """A SQLite file. It is opened for reading and never made."""

    kind: Literal["sqlite"]
    """What it is."""
    path: FilePath
    """The file."""


class SnowflakeSource(_Base):
    """A Snowflake account, over HTTPS, with one of: key pair, programmatic access token, OAuth token, password."""

    kind: Literal["snowflake"]
    """What it is."""
    account: Given
    """The account's identifier, such as ``myorg-account1``."""
    user: Given
    """Who logs in."""
    private_key_file: ReadableFile | None = None
    """The private key of the user's key pair: PKCS#8 in PEM form."""
    private_key_password: Secret | None = None
    """The password of that file, where it has one."""
    private_key_password_file: SecretFile | None = None
    """A file that holds it."""
    token: Secret | None = None
    """A programmatic access token, or with ``authenticator: oauth`` an OAuth token."""
    token_file: SecretFile | None = None
    """A file that holds it."""
    authenticator: Literal["snowflake", "programmatic_access_token", "oauth"] | None = None
    """How a password or token is meant; found by what is given when absent, a token being a programmatic access
    token."""
    password: Secret | None = None
    """The user's password. Snowflake is ending logins with a password alone; prefer a key pair."""
    password_file: SecretFile | None = None
    """A file that holds it."""
    warehouse: str | None = None
    """The warehouse that computes; the user's own when absent, as for the next two."""
    database: str | None = None
    """The database in which names without one are looked up."""
    role: str | None = None
    """The role that reads. It is what keeps sessions from writing: Snowflake has none that only read."""
    host: str | None = None
    """The host to connect to instead of the account's own: a private link, a gateway, a test server."""
    port: Port | None = None
    """Its port; that of the protocol when absent."""
    protocol: Literal["https", "http"] = "https"
    """``http`` sends credentials in the clear, and is for test servers."""

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        ways = ("password", "password_file", "private_key_file", "token", "token_file")
        exclusive(self, *ways)
        exclusive(self, "private_key_password", "private_key_password_file")
        if not any(getattr(self, way) for way in ways):
            raise problem("needs a way to log in: password, private_key_file or token")
        return self


class HttpSource(_Base):
    """An HTTP API that a domain reads."""

    kind: Literal["http"]
    """What it is."""
    url: HttpUrl
    """Its address, without the path of an endpoint."""
    token: Secret | None = None
    """A bearer token."""
    token_file: SecretFile | None = None
    """A file that holds it."""

    @model_validator(mode="after")
    def _one_token(self) -> Self:
        exclusive(self, "token", "token_file")
        return self


Source: TypeAlias = MariadbSource | PostgresqlSource | SqliteSource | SnowflakeSource | HttpSource
