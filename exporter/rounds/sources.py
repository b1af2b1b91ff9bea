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
    """Longest time that a statement may take; the server enforces it too where it can."""


class _Server(_Base):
    host: Given
    user: Given
    password: Secret | None = None
    password_file: SecretFile | None = None
    """A file that holds the password."""
    database: Given

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
    port: Port = 3306


class PostgresqlSource(_Server):
    """A PostgreSQL server."""

    kind: Literal["postgresql"]
    port: Port = 5432


class SqliteSource(_Base):
    """A SQLite file, opened for reading."""

    kind: Literal["sqlite"]
    path: FilePath


class SnowflakeSource(_Base):
    """A Snowflake account, with one of: password, key pair, programmatic access token, OAuth token."""

    kind: Literal["snowflake"]
    account: Given
    user: Given
    password: Secret | None = None
    password_file: SecretFile | None = None
    private_key_file: ReadableFile | None = None
    private_key_password: Secret | None = None
    private_key_password_file: SecretFile | None = None
    token: Secret | None = None
    token_file: SecretFile | None = None
    """A programmatic access token, or with ``authenticator: oauth`` an OAuth token."""
    authenticator: Literal["snowflake", "programmatic_access_token", "oauth"] | None = None
    warehouse: str | None = None
    database: str | None = None
    role: str | None = None
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
    url: HttpUrl
    token: Secret | None = None
    token_file: SecretFile | None = None
    """A bearer token."""

    @model_validator(mode="after")
    def _one_token(self) -> Self:
        exclusive(self, "token", "token_file")
        return self


Source: TypeAlias = MariadbSource | PostgresqlSource | SqliteSource | SnowflakeSource | HttpSource
