"""What reaches Snowflake, through the real connector, at a server that stands for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from rounds.sources import SnowflakeSource
from support.databases import databases_for
from support.fakesnow import FakesnowServer

ODD = "{p@:/?#%\"'$\\} é€😀 x"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the private keys ``plain`` and ``locked``, and the file ``token``."""
    folder = tmp_path_factory.mktemp("keys")
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    locks: dict[str, serialization.KeySerializationEncryption] = {
        "plain": serialization.NoEncryption(),
        "locked": serialization.BestAvailableEncryption(b"pass phrase"),
    }
    for name, lock in locks.items():
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        (folder / name).write_bytes(key.private_bytes(encoding, form, lock))
    (folder / "token").write_text("tok-from-file\n", encoding="utf-8")
    return folder


def login(fakesnow: FakesnowServer, **ways: Any) -> dict[str, Any]:
    """The login request that a source makes."""
    with fakesnow.faults():
        databases_for({"s": fakesnow.source("clinic", **ways)}).open("s", timeout=7.5).close()
        (seen,) = fakesnow.seen()["logins"]
    request: dict[str, Any] = seen
    return request


@pytest.mark.parametrize(
    ("ways", "authenticator", "secret"),
    [
        (lambda _: {"password": ODD}, None, ODD),
        (lambda keys: {"private_key_file": keys / "plain"}, "SNOWFLAKE_JWT", None),
        (
            lambda keys: {"private_key_file": keys / "locked", "private_key_password": "pass phrase"},
            "SNOWFLAKE_JWT",
            None,
        ),
        (lambda _: {"token": "tok"}, "PROGRAMMATIC_ACCESS_TOKEN", "tok"),
        (lambda keys: {"token_file": keys / "token"}, "PROGRAMMATIC_ACCESS_TOKEN", "tok-from-file"),
        (lambda _: {"token": "tok", "authenticator": "oauth"}, "OAUTH", "tok"),
        (lambda keys: {"token_file": keys / "token", "authenticator": "oauth"}, "OAUTH", "tok-from-file"),
    ],
    ids=["password", "key pair", "key pair with a password", "access token", "token file", "oauth", "oauth file"],
)
def test_ways_to_log_in(
    fakesnow: FakesnowServer,
    keys: Path,
    ways: Callable[[Path], dict[str, Any]],
    authenticator: str | None,
    secret: str | None,
) -> None:
    data = login(fakesnow, **ways(keys))["data"]
    assert data["LOGIN_NAME"] == "rounds"
    assert data.get("AUTHENTICATOR") == authenticator
    sent = data.get("PASSWORD") if authenticator is None else data["TOKEN"]
    if secret is None:
        assert sent.count(".") == 2, "a signed token"
        assert "PASSWORD" not in data
    else:
        assert sent == secret


def test_what_is_sent_is_what_is_meant(fakesnow: FakesnowServer) -> None:
    request = login(fakesnow, warehouse="tiny", role="reader")
    query = {name: value for name, value in request["query"].items() if value}
    assert query == {"databaseName": "clinic", "warehouse": "tiny", "roleName": "reader"}
    settings = request["data"]["SESSION_PARAMETERS"]
    told = {name: value for name, value in settings.items() if name not in OF_THE_CONNECTOR}
    assert told == {
        "QUERY_TAG": "rounds",
        "STATEMENT_TIMEOUT_IN_SECONDS": "8",
        "ABORT_DETACHED_QUERY": "true",
        "TIMEZONE": "UTC",
        "CLIENT_TELEMETRY_ENABLED": "false",
        "CLIENT_SESSION_KEEP_ALIVE": "false",
        "CLIENT_PREFETCH_THREADS": "2",
        "AUTOCOMMIT": "true",
    }


#: What the connector tells of itself and of the machine.
OF_THE_CONNECTOR = {
    "CLIENT_RUNTIME_NAME",
    "CLIENT_RUNTIME_VERSION",
    "CLIENT_COMPILER",
    "CLIENT_APPLICATION_PATH",
}


def test_a_session_makes_no_request_besides_its_statements(fakesnow: FakesnowServer) -> None:
    database = fakesnow.create_database()
    with fakesnow.faults():
        with databases_for({"s": fakesnow.source(database)}).open("s") as session:
            session.all("SELECT 1")
            list(session.stream("SELECT ?", ("x",)))
        paths = fakesnow.seen()["paths"]
    assert paths == {"/session/v1/login-request": 1, "/queries/v1/query-request": 2, "/session": 1}


def test_the_token_of_a_table_moves_with_changes_alone(fakesnow: FakesnowServer) -> None:
    """The stand-in's own: each database has one, and it outlives sessions."""
    database, other = fakesnow.create_database(), fakesnow.create_database()
    fakesnow.sql(f"CREATE TABLE {database}.public.t (a int)")
    databases = databases_for({"s": fakesnow.source(None)})

    def token(name: str = "t") -> int:
        with databases.open("s") as session:
            found = session.all(f"SELECT SYSTEM$LAST_CHANGE_COMMIT_TIME('{database}.public.{name}')")
            assert session.all("SELECT SYSTEM$LAST_CHANGE_COMMIT_TIME(?)", (f"{database}.public.{name}",)) == found
            return int(found[0][0])

    first = token()
    fakesnow.sql("SELECT * FROM t", "SHOW TABLES", database=database)
    fakesnow.sql("CREATE TABLE u (a int)", database=other)
    assert token() == first
    seen = [first]
    for change in ("INSERT INTO t VALUES (1)", "UPDATE t SET a = 2", "DELETE FROM t", "TRUNCATE TABLE t"):
        fakesnow.sql(change, database=database)
        seen.append(token())
    assert seen == sorted(set(seen))
    with pytest.raises(Exception, match="002003"):
        token("gone")


def test_a_source_names_a_host_of_its_own() -> None:
    given = {"kind": "snowflake", "account": "a", "user": "u", "password": "p"}
    plain = SnowflakeSource.model_validate(given)
    assert (plain.host, plain.port, plain.protocol) == (None, None, "https")
    linked = SnowflakeSource.model_validate({**given, "host": "a.privatelink.example.org", "port": 8443})
    assert (linked.host, linked.port) == ("a.privatelink.example.org", 8443)
