"""Each fault that is planted is found, with what mends it; where that can be run, it is, and the fault is gone."""

from __future__ import annotations

import re
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rounds.doctor import network
from rounds.doctor.finding import LEVELS
from support.doctor import PASSWORD, REPOSITORY, Installation

#: Puts something wrong; may be a generator that puts right again what others share.
Plant = Callable[[Installation], Any]


@dataclass(frozen=True)
class Fault:
    """A fault, and what must be said of it.

    Attributes:
        name: what is wrong.
        plant: makes it so.
        level: how bad that is.
        group: the kind of examination that finds it.
        subject: part of what is named.
        found: part of what is said.
        remedy: part of what mends it.
        mend: who follows the remedy: ``shell``, a kind of server, or "" where it is no command.
    """

    name: str
    plant: Plant
    level: str
    group: str
    subject: str
    found: str
    remedy: str
    mend: str = ""


def _text(installation: Installation, text: str) -> None:
    installation.file.write_text(text, encoding="utf-8")
    installation.file.chmod(0o600)


# --- configuration ------------------------------------------------------------------------------------------------


def unknown_key(installation: Installation) -> None:
    installation.watch_sqlite()
    installation.config["tables"][0]["intervall"] = "1h"


def unset_variable(installation: Installation) -> None:
    installation.watch_sqlite()
    installation.config["sources"]["other"] = {"kind": "sqlite", "path": "${ROUNDS_TEST_UNSET}"}


def empty_variable(installation: Installation) -> None:
    installation.probe("http://127.0.0.1${ROUNDS_TEST_EMPTY}/")


def wrong_source(installation: Installation) -> None:
    installation.watch_sqlite()
    installation.config["tables"][0]["source"] = "fil"


def broken_yaml(installation: Installation) -> None:
    _text(installation, "services:\n  checks: [\n")


def impossible_interval(installation: Installation) -> None:
    installation.probe(interval="5s", timeout="10s")


# --- files --------------------------------------------------------------------------------------------------------


def open_password(installation: Installation) -> None:
    installation.watch_postgresql()
    installation.secret("postgres_password", mode=0o644)


def changeable_password(installation: Installation) -> None:
    installation.watch_postgresql()
    installation.secret("postgres_password", mode=0o620)


def missing_password(installation: Installation) -> None:
    installation.watch_postgresql()
    (installation.folder / "postgres_password").unlink()


def empty_password(installation: Installation) -> None:
    installation.watch_postgresql()
    installation.secret("postgres_password", "\n")


def blank_behind_password(installation: Installation) -> None:
    installation.watch_postgresql()
    installation.secret("postgres_password", f"{PASSWORD} \n\n")


def literal_password(installation: Installation) -> None:
    installation.watch_postgresql()
    source = installation.config["sources"]["postgres"]
    del source["password_file"]
    source["password"] = PASSWORD
    installation.write()
    installation.file.chmod(0o644)


def changeable_configuration(installation: Installation) -> None:
    installation.probe()
    installation.write()
    installation.file.chmod(0o666)


def open_salt(installation: Installation) -> None:
    installation.make_ledger()
    Path(f"{installation.state()}.salt").chmod(0o640 | 0o004)


def open_ledger(installation: Installation) -> None:
    installation.make_ledger().chmod(0o644)


def open_tls_key(installation: Installation) -> None:
    installation.probe()
    _, key = installation.servers("authority").issue("127.0.0.1").write(installation.folder, "web")
    key.chmod(0o644)
    web = installation.folder / "web.yml"
    web.write_text("tls_server_config: {cert_file: web.crt, key_file: web.key}", encoding="utf-8")
    installation.flags.append(f"--web.config.file={web}")


def missing_web_configuration(installation: Installation) -> None:
    installation.probe()
    installation.flags.append(f"--web.config.file={installation.folder / 'web.yml'}")


# --- sources ------------------------------------------------------------------------------------------------------


def unknown_host(installation: Installation) -> None:
    installation.watch_postgresql()
    installation.config["sources"]["postgres"]["host"] = "nowhere.invalid"


def nobody_listens(installation: Installation) -> None:
    installation.watch_mariadb()
    installation.config["sources"]["maria"]["port"] = 1


def wrong_password_of_mariadb(installation: Installation) -> None:
    installation.watch_mariadb()
    installation.secret("maria_password", "another")


def wrong_password_of_postgresql(installation: Installation) -> None:
    installation.watch_postgresql()
    installation.secret("postgres_password", "another")


def missing_database_of_postgresql(installation: Installation) -> None:
    installation.watch_postgresql()
    installation.config["sources"]["postgres"]["database"] = "nothing"


def forbidden_database_of_mariadb(installation: Installation) -> None:
    installation.watch_mariadb()
    installation.config["sources"]["maria"]["database"] = "mysql"


def missing_file(installation: Installation) -> None:
    installation.watch_sqlite().unlink()


def no_database(installation: Installation) -> None:
    installation.watch_sqlite().write_bytes(b"no database at all" * 100)


# --- grants -------------------------------------------------------------------------------------------------------


def no_grant_in_mariadb(installation: Installation) -> None:
    name = installation.watch_mariadb(grant=False)
    installation.mariadb.sql(f"GRANT SELECT ON {name}.letters TO {name}@'127.0.0.1'")


def no_column_in_mariadb(installation: Installation) -> None:
    name = installation.watch_mariadb(grant=False)
    installation.mariadb.sql(f"GRANT SELECT (id) ON {name}.patients TO {name}@'127.0.0.1'")


def absent_column(installation: Installation) -> None:
    installation.watch_mariadb()
    installation.config["tables"][0]["columns"] = ["name", "surname"]


def absent_table(installation: Installation) -> None:
    installation.watch_postgresql()
    installation.config["tables"][0]["table"] = "patient"


def writer_in_mariadb(installation: Installation) -> None:
    name = installation.watch_mariadb()
    installation.mariadb.sql(
        f"GRANT INSERT, UPDATE (name) ON {name}.patients TO {name}@'127.0.0.1'",
        f"GRANT CREATE TEMPORARY TABLES, DROP ON `{name}`.* TO {name}@'127.0.0.1'",
    )


def root_in_mariadb(installation: Installation) -> None:
    name = installation.watch_mariadb()
    installation.mariadb.sql(f"GRANT ALL PRIVILEGES ON *.* TO {name}@'127.0.0.1' WITH GRANT OPTION")


def reader_of_everything_in_mariadb(installation: Installation) -> None:
    name = installation.watch_mariadb(grant=False)
    installation.mariadb.sql(f"GRANT SELECT ON *.* TO {name}@'127.0.0.1'")


def writer_by_role_in_mariadb(installation: Installation) -> None:
    name = installation.watch_mariadb()
    installation.mariadb.sql(
        f"CREATE ROLE {name}_writer",
        f"GRANT DELETE ON {name}.patients TO {name}_writer",
        f"GRANT {name}_writer TO {name}@'127.0.0.1'",
    )


def no_grant_in_postgresql(installation: Installation) -> None:
    installation.watch_postgresql(grant=False)


def no_schema_in_postgresql(installation: Installation) -> None:
    installation.watch_postgresql()
    table = {"name": "visits", "source": "postgres", "table": "clinic.visits", "key": "id"}
    installation.config["tables"].append(table)


def writer_in_postgresql(installation: Installation) -> None:
    name = installation.watch_postgresql()
    installation.postgresql.sql(f"GRANT INSERT, UPDATE, TRUNCATE ON patients TO {name}", database=name)


def writer_of_a_column_in_postgresql(installation: Installation) -> None:
    name = installation.watch_postgresql()
    installation.postgresql.sql(f"GRANT UPDATE (born) ON patients TO {name}", database=name)


def everybody_writes_in_postgresql(installation: Installation) -> None:
    name = installation.watch_postgresql()
    installation.postgresql.sql("GRANT DELETE ON patients TO PUBLIC", database=name)


def superuser(installation: Installation) -> None:
    name = installation.watch_postgresql()
    installation.postgresql.sql(f"ALTER ROLE {name} SUPERUSER")


def maker_of_roles(installation: Installation) -> None:
    name = installation.watch_postgresql()
    installation.postgresql.sql(f"ALTER ROLE {name} CREATEROLE CREATEDB")


def owner(installation: Installation) -> None:
    name = installation.watch_postgresql()
    installation.postgresql.sql(f"ALTER TABLE patients OWNER TO {name}", database=name)


def member(installation: Installation) -> None:
    name = installation.watch_postgresql()
    installation.postgresql.sql(f"GRANT pg_write_all_data TO {name}")


def maker_of_tables(installation: Installation) -> None:
    name = installation.watch_postgresql()
    installation.postgresql.sql("GRANT CREATE ON SCHEMA public TO PUBLIC", database=name)


def changeable_store(installation: Installation) -> None:
    installation.watch_sqlite().chmod(0o666)


def store_without_tables(installation: Installation) -> None:
    file = installation.folder / "monitoring.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE notes (id INTEGER)")
    installation.state()
    installation.config["sources"] = {"app": {"kind": "sqlite", "path": "monitoring.db"}}
    installation.config["emr"] = [{"name": "app", "source": "app"}]


def missing_backups(installation: Installation) -> None:
    store_without_tables(installation)
    installation.config["emr"][0]["checks"] = {"backup": {"folder": "backups"}}


@contextmanager
def warehouse(installation: Installation, role: str, *grants: tuple[str, str, str]) -> Iterator[None]:
    """A role with these grants in the stand-in, which knows none itself."""
    server = installation.servers("fakesnow")
    database = server.create_database("doctor")
    server.sql("CREATE TABLE patients (id INT, name VARCHAR)", database=database)
    place = {"account": "test", "host": "127.0.0.1", "port": server.port, "protocol": "http"}
    login = {"user": "rounds", "database": database, "password_file": installation.secret("warehouse_password")}
    installation.config["sources"] = {"warehouse": {"kind": "snowflake", **place, **login}}
    table = {"name": "patients", "source": "warehouse", "table": f"{database}.public.patients", "columns": ["NAME"]}
    installation.config["tables"] = [table]
    installation.state()
    name = f"{database}.public.patients".upper()
    rows = [("SELECT", "TABLE", name), *((privilege, on, where or name) for privilege, on, where in grants)]
    shown = " UNION ALL ".join(f"SELECT '' AS a, '{p}' AS b, '{on}' AS c, '{where}' AS d" for p, on, where in rows)
    answers = {"CURRENT_ROLE": f"SELECT '{role}'", "CURRENT_VERSION": "SELECT '10.1.1'", "SHOW GRANTS": shown}
    with server.faults(statements=[{"text": text, "instead": sql} for text, sql in answers.items()]):
        yield


def writer_in_snowflake(installation: Installation) -> Any:
    return warehouse(installation, "READER", ("INSERT", "TABLE", ""), ("USAGE", "WAREHOUSE", "WH"))


@contextmanager
def no_table_in_snowflake(installation: Installation) -> Iterator[None]:
    with warehouse(installation, "READER"):
        installation.config["tables"][0]["table"] += "_of_yesterday"
        yield


@contextmanager
def no_column_in_snowflake(installation: Installation) -> Iterator[None]:
    with warehouse(installation, "READER"):
        installation.config["tables"][0]["columns"] = ["SURNAME"]
        yield


def silent_api(installation: Installation) -> None:
    installation.state()
    installation.config["sources"] = {"api": {"kind": "http", "url": "http://127.0.0.1:1"}}
    sync = {"name": "cliniko", "source": "api", "api": "logs", "organizations": {"only": ["1"]}}
    installation.config["syncs"] = [sync]


def administrator_of_snowflake(installation: Installation) -> Any:
    return warehouse(installation, "ACCOUNTADMIN")


# --- clocks, ledger -----------------------------------------------------------------------------------------------


@contextmanager
def late_clock(installation: Installation) -> Iterator[None]:
    installation.watch_mariadb()
    installation.mariadb.sql("SET GLOBAL init_connect = 'SET timestamp = UNIX_TIMESTAMP() - 3600'")
    try:
        yield
    finally:
        installation.mariadb.sql("SET GLOBAL init_connect = ''")


def damaged_ledger(installation: Installation) -> None:
    file = installation.make_ledger()
    data = bytearray(file.read_bytes())
    data[100:8192] = bytes(8092)
    file.write_bytes(data)


def newer_ledger(installation: Installation) -> None:
    with closing(sqlite3.connect(installation.make_ledger())) as connection:
        connection.execute("UPDATE ledger_schema SET version = 99 WHERE component = 'tables'")
        connection.commit()


def lost_salt(installation: Installation) -> None:
    Path(f"{installation.make_ledger()}.salt").unlink()


def missing_folder(installation: Installation) -> None:
    installation.watch_sqlite()
    installation.config["state"] = {"url": f"sqlite:///{installation.folder / 'gone/state.db'}"}


def quarantined_ledger(installation: Installation) -> None:
    file = installation.make_ledger()
    shutil.copy(file, f"{file}.corrupt-20260101T000000.000000Z")


def refused_ledger(installation: Installation) -> None:
    installation.watch_sqlite()
    url = f"mariadb://127.0.0.1:{installation.mariadb.port}/rounds"
    login = {"user": "rounds", "password_file": installation.secret("ledger_password")}
    installation.config["state"] = {"url": url, "salt_file": "salt", **login}


# --- addresses ----------------------------------------------------------------------------------------------------


def unknown_service(installation: Installation) -> None:
    installation.probe("http://nowhere.invalid:8000/health")


def secret_in_the_clear(installation: Installation) -> None:
    installation.probe("http://nowhere.invalid:8000/health", bearer_token_file=installation.secret("token"))


FAULTS = (
    Fault(
        "unknown key", unknown_key, "error", "configuration", "rounds.yml:", "did you mean 'interval'", "write interval"
    ),
    Fault("unset variable", unset_variable, "error", "configuration", "", "ROUNDS_TEST_UNSET is not set", "set it, or"),
    Fault("empty variable", empty_variable, "warning", "configuration", "", "set, but empty", "set ROUNDS_TEST_EMPTY"),
    Fault("unknown source", wrong_source, "error", "configuration", "", "no source 'fil'", "write file"),
    Fault("broken YAML", broken_yaml, "error", "configuration", "rounds.yml:3", "not valid YAML", "correct it"),
    Fault(
        "timeout beyond interval", impossible_interval, "error", "configuration", "", "longer than the", "correct it"
    ),
    Fault(
        "open password", open_password, "warning", "files", "password_file", "everybody may read", "chmod 600", "shell"
    ),
    Fault("changeable", changeable_password, "warning", "files", "password_file", "may change", "chmod 600", "shell"),
    Fault("no password file", missing_password, "error", "files", "password_file", "not there", "install -m 600"),
    Fault("empty password file", empty_password, "error", "files", "password_file", "is empty", "write the secret"),
    Fault("blanks", blank_behind_password, "warning", "files", "password_file", "ends with blanks", "sed -i", "shell"),
    Fault(
        "literal password", literal_password, "warning", "files", "rounds.yml:", "a secret stands", "chmod 600", "shell"
    ),
    Fault("open configuration", changeable_configuration, "warning", "files", "", "may change", "chmod go-w", "shell"),
    Fault("open salt", open_salt, "warning", "files", ".salt", "everybody may read", "chmod 600", "shell"),
    Fault("open ledger", open_ledger, "warning", "files", "state.db", "everybody may read", "chmod 600", "shell"),
    Fault("open TLS key", open_tls_key, "warning", "files", "key_file", "everybody may read", "chmod 600", "shell"),
    Fault("no web file", missing_web_configuration, "error", "files", "web.yml", "not there", "docs/web-config"),
    Fault("unknown host", unknown_host, "error", "sources", "postgres", "no address", "check host"),
    Fault("closed port", nobody_listens, "error", "sources", "maria", "nothing accepts", "check host and port"),
    Fault("wrong password", wrong_password_of_mariadb, "error", "sources", "maria", "access denied", "check user"),
    Fault(
        "refused login", wrong_password_of_postgresql, "error", "sources", "postgres", "access denied", "pg_hba.conf"
    ),
    Fault("no database", missing_database_of_postgresql, "error", "sources", "postgres", "does not exist", "check the"),
    Fault("forbidden", forbidden_database_of_mariadb, "error", "sources", "maria", "no access", "grant it SELECT"),
    Fault("no file", missing_file, "error", "sources", "file", "there is no file", "sources.file.path"),
    Fault("no SQLite", no_database, "error", "sources", "file", "no SQLite database", "check path"),
    Fault("MariaDB table", no_grant_in_mariadb, "error", "grants", "patients", "may not", "GRANT SELECT ON", "mariadb"),
    Fault(
        "MariaDB column", no_column_in_mariadb, "error", "grants", "patients", "`name`", "SELECT (`name`)", "mariadb"
    ),
    Fault("absent column", absent_column, "error", "grants", "patients", "no column `surname`", "id, name, born"),
    Fault("absent table", absent_table, "error", "grants", "patient ", "no such table", "check the table's name"),
    Fault("MariaDB writer", writer_in_mariadb, "warning", "grants", "", "INSERT, UPDATE", "REVOKE", "mariadb"),
    Fault("MariaDB root", root_in_mariadb, "warning", "grants", "", "everything on *.*", "REVOKE ALL", "mariadb"),
    Fault(
        "MariaDB reader", reader_of_everything_in_mariadb, "warning", "grants", "", "every d", "GRANT SEL", "mariadb"
    ),
    Fault("MariaDB role", writer_by_role_in_mariadb, "warning", "grants", "by the role", "DELETE", "REVOKE", "mariadb"),
    Fault("table", no_grant_in_postgresql, "error", "grants", "patients", "may not", "GRANT SELECT ON", "postgresql"),
    Fault(
        "schema", no_schema_in_postgresql, "error", "grants", "visits", "may not", "GRANT USAGE ON SCH", "postgresql"
    ),
    Fault("writer", writer_in_postgresql, "warning", "grants", "", "INSERT, TRUNC", "REVOKE INSERT", "postgresql"),
    Fault(
        "column", writer_of_a_column_in_postgresql, "warning", "grants", "", "(born)", "REVOKE UPDATE (", "postgresql"
    ),
    Fault(
        "everybody", everybody_writes_in_postgresql, "warning", "grants", "PUBLIC", "DEL", "FROM PUBLIC", "postgresql"
    ),
    Fault("superuser", superuser, "warning", "grants", "", "superuser", "NOSUPERUSER", "postgresql"),
    Fault("maker of roles", maker_of_roles, "warning", "grants", "", "CREATEROLE", "NOCREATEROLE", "postgresql"),
    Fault("owner", owner, "warning", "grants", "", "owns the table", "OWNER TO admin", "postgresql"),
    Fault("member", member, "warning", "grants", "", "pg_write_all_data", "REVOKE pg_write_all_data", "postgresql"),
    Fault("maker of tables", maker_of_tables, "warning", "grants", "", "CREATE on the schema", "REVOKE", "postgresql"),
    Fault("changeable file", changeable_store, "warning", "grants", "clinic.db", "may change", "chmod o-w", "shell"),
    Fault("no store", store_without_tables, "error", "grants", "emr[0]", "none of the tables", "sources.app"),
    Fault("no backups", missing_backups, "warning", "files", "backup[0]", "no such file", "check emr[0].checks.backup"),
    Fault("Snowflake writer", writer_in_snowflake, "warning", "grants", "READER", "INSERT", "REVOKE INSERT ON TABLE"),
    Fault("Snowflake table", no_table_in_snowflake, "error", "grants", "yesterday", "no such table", "check the table"),
    Fault("Snowflake column", no_column_in_snowflake, "error", "grants", "patients", "SURNAME", "there are: ID, NAME"),
    Fault("silent API", silent_api, "error", "sources", "api", "nothing accepts", "check host and port"),
    Fault("ACCOUNTADMIN", administrator_of_snowflake, "warning", "grants", "ACCOUNTADMIN", "admin", "CREATE ROLE"),
    Fault("late clock", late_clock, "warning", "clocks", "source maria", "60.0 minutes behind", "timedatectl"),
    Fault("damaged ledger", damaged_ledger, "error", "ledger", "state.db", "damaged", "put a backup in its place"),
    Fault("newer ledger", newer_ledger, "error", "ledger", "state.db", "newer version", "run that version"),
    Fault("no salt", lost_salt, "error", "ledger", "state.db.salt", "not there", "restore it"),
    Fault("no folder", missing_folder, "error", "ledger", "gone/state.db", "not there", "install -d -m 700"),
    Fault("ledger aside", quarantined_ledger, "warning", "ledger", ".corrupt-", "moved aside", "rm "),
    Fault("ledger login", refused_ledger, "error", "ledger", "mariadb://", "refuses the login", "check state.user"),
    Fault("unknown service", unknown_service, "warning", "addresses", "nowhere.invalid", "no address", "getent hosts"),
    Fault("in the clear", secret_in_the_clear, "warning", "addresses", "checks[0]", "in the clear", "https://nowhere"),
)


def follow(installation: Installation, mend: str, remedies: list[str]) -> None:
    """Do what is suggested, to the letter; only lines that are commands."""
    for line in remedies:
        if mend == "shell":
            if re.match(r"(chmod|sed|chown) ", line):
                subprocess.run(line, shell=True, check=True)
            continue
        assert line.endswith(";"), line
        source = next(each for each in installation.config["sources"].values() if each["kind"] == mend)
        installation.servers(mend).sql(line, database=source["database"])


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_is_found_and_mended(
    installation: Installation, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROUNDS_TEST_EMPTY", "")
    monkeypatch.delenv("ROUNDS_TEST_UNSET", raising=False)
    planted = fault.plant(installation)
    with planted if hasattr(planted, "__enter__") else closing(socket.socket()):
        diagnosis = installation.doctor()
    found = diagnosis.about(fault.level, fault.group, fault.subject, fault.found)
    assert found, diagnosis.findings
    assert fault.remedy in "\n".join(found[0]["remedy"]), found
    assert diagnosis.code == 1
    assert PASSWORD not in diagnosis.output
    if fault.mend:
        for problem in diagnosis.problems:
            follow(installation, fault.mend, problem["remedy"])
        mended = installation.doctor()
        assert mended.problems == []
        assert mended.code == 0


def test_there_are_enough_of_them() -> None:
    assert len(FAULTS) >= 20
    assert {fault.level for fault in FAULTS} <= set(LEVELS[2:])


def test_localhost_in_a_container_is_a_hint(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    installation.probe("http://localhost:8000/")
    monkeypatch.setattr(network, "in_container", lambda: True)
    diagnosis = installation.doctor()
    assert diagnosis.code == 0
    (found,) = diagnosis.about("hint", "addresses", "localhost")
    assert "host.docker.internal" in found["remedy"][0]


def test_what_is_in_order_is_examined_beside_what_is_not(installation: Installation) -> None:
    installation.watch_sqlite()
    installation.watch_mariadb()
    installation.probe()
    installation.config["sources"]["other"] = {"kind": "sqlite", "path": 5}
    installation.config["tables"].append({"name": "b", "source": "other", "table": "b"})
    for name in ("c", "d"):
        installation.config["tables"].insert(0, {"name": name, "source": "file", "table": "", "key": []})
    installation.config["services"]["checks"].insert(0, {"name": "bad", "urll": "x"})
    diagnosis = installation.doctor()
    assert len(diagnosis.about("error", "configuration")) == 7
    assert diagnosis.about("ok", "grants", "maria: patients")
    assert diagnosis.about("ok", "grants", "file: patients")
    assert diagnosis.about("ok", "addresses", "127.0.0.1")


def test_without_any_configuration_the_rest_is_examined(installation: Installation) -> None:
    (installation.folder / "rounds.yml").mkdir()
    installation.flags.append(f"--bundle={REPOSITORY}")
    diagnosis = installation.doctor()
    (found,) = diagnosis.about("error", "configuration", "rounds.yml", "cannot be read")
    assert found["remedy"][0].startswith("correct")
    assert diagnosis.about("hint", "prometheus")
    assert diagnosis.about("ok", "grafana")
