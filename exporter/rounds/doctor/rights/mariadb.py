"""The rights of a user of MariaDB or MySQL, by ``SHOW GRANTS``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rounds.doctor.finding import Finding
from rounds.doctor.rights.rights import Relation, Rights
from rounds.errors import CollectorError
from rounds.needs import TableNeed

_OLDEST = {"MariaDB": (10, 5), "MySQL": (8, 0)}
#: What a user who reads needs, and what tells nothing that is in tables.
_READING = frozenset(("SELECT", "SHOW VIEW", "USAGE"))
_EVERYTHING = ("ALL PRIVILEGES", "ALL")
_NAME = r"(?:`(?:[^`]|``)*`|'[^']*')"
_PART = r"(?:`(?:[^`]|``)*`|\*)"
# A password's hash may stand behind the grantee; nothing behind it is kept.
_GRANT = re.compile(
    r"GRANT (?P<privileges>.+?) ON (?:(?:TABLE|FUNCTION|PROCEDURE|PACKAGE(?: BODY)?) )?"
    rf"(?P<object>{_PART}\.{_PART}) TO (?P<grantee>{_NAME}(?:@{_NAME})?)(?P<rest>.*)",
    re.DOTALL,
)
_ROLE = re.compile(r"GRANT (?P<role>(?:`[^`]+`|'[^']+'|\w+)(?:@(?:`[^`]*`|'[^']*'))?) TO ")
_COMMA = re.compile(r", (?![^(]*\))")


@dataclass(frozen=True)
class Grant:
    """A line of ``SHOW GRANTS``.

    Attributes:
        privileges: such as ``SELECT`` or ``INSERT (`a`)``.
        on: what they are on, as the server writes it.
        grantee: who has them: the user, or a role of it.
    """

    privileges: tuple[str, ...]
    on: str
    grantee: str

    @classmethod
    def of(cls, line: str) -> Grant | None:
        """What a line says; None where it is not about privileges."""
        match = _GRANT.match(line)
        if match is None:
            return None
        more = ("GRANT OPTION",) if "WITH GRANT OPTION" in match["rest"] else ()
        return cls((*_COMMA.split(match["privileges"]), *more), match["object"], match["grantee"])


class MariadbRights(Rights):
    """Rights in MariaDB and MySQL."""

    product = "MariaDB"
    quote_mark = "`"

    def version(self) -> tuple[str, str]:
        """As the server says."""
        text = str(self.ask("SELECT VERSION()")[0][0])
        name = "MariaDB" if "mariadb" in text.lower() else "MySQL"
        found = re.match(r"(\d+)\.(\d+)", text)
        old = found is not None and (int(found[1]), int(found[2])) < _OLDEST[name]
        return f"{name} {text.partition('-')[0]}", ".".join(map(str, _OLDEST[name])) if old else ""

    def encrypted(self) -> bool | None:
        """By the session's cipher."""
        rows = self.ask("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
        return bool(rows and rows[0][1])

    def clock(self) -> float | None:
        """The clock that rows are compared with."""
        return float(self.ask("SELECT UNIX_TIMESTAMP(NOW(6))")[0][0])

    def find(self, table: Sequence[str]) -> Relation:
        """With those columns on which the user has some right."""
        *database, name = table[-2:]
        where = "TABLE_SCHEMA = " + ("%s" if database else "DATABASE()") + " AND TABLE_NAME = %s"
        rows = self.ask(f"SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE {where}", (*database, name))
        space = database[0] if database else str(self.ask("SELECT DATABASE()")[0][0])
        columns = {str(row[0]): self.quoted(str(row[0])) for row in rows}
        return Relation(f"{self.quoted(space)}.{self.quoted(name)}", columns)

    def grants(self, relation: Relation, columns: Sequence[str]) -> tuple[str, ...]:
        """One statement."""
        what = f"SELECT ({', '.join(columns)})" if columns else "SELECT"
        return (f"GRANT {what} ON {relation.name} TO {self._user()};",)

    def excess(self, needs: Sequence[TableNeed]) -> Iterator[Finding]:
        """Of the user, and of each role that it has."""
        user = self._user()
        needed = [self.find(need.table) for need in needs]
        clean = True
        for grant in self._all_grants():
            for finding in self._excess_of(grant, user, needed):
                clean = clean and finding.level in ("ok", "hint")
                yield finding
        if clean:
            yield self.finding("ok", user, "may change nothing")

    def _excess_of(self, grant: Grant, user: str, needed: Sequence[Relation]) -> Iterator[Finding]:
        subject = grant.grantee if grant.grantee == user else f"{user}, by the role {grant.grantee}"
        again = tuple(self.shown(line) for relation in needed for line in self.grants(relation, ()))
        if any(each in _EVERYTHING for each in grant.privileges):
            statements = [f"REVOKE ALL PRIVILEGES ON {grant.on} FROM {grant.grantee};"]
            if "GRANT OPTION" in grant.privileges:
                statements.append(f"REVOKE GRANT OPTION ON {grant.on} FROM {grant.grantee};")
            yield self.finding("warning", subject, f"may do everything on {grant.on}", *statements, *again)
            return
        more = [each for each in grant.privileges if each.partition(" (")[0] not in _READING]
        plain = [each for each in more if each != "GRANT OPTION"]
        if more:
            statements = [f"REVOKE {', '.join(plain)} ON {grant.on} FROM {grant.grantee};"] if plain else []
            if "GRANT OPTION" in more:
                statements.append(f"REVOKE GRANT OPTION ON {grant.on} FROM {grant.grantee};")
            yield self.finding("warning", subject, f"has {', '.join(more)} on {grant.on}", *statements)
        if "SELECT" in grant.privileges and grant.on == "*.*":
            found = "may read every database of the server, passwords' hashes among them"
            yield self.finding("warning", subject, found, f"REVOKE SELECT ON *.* FROM {grant.grantee};", *again)
        elif "SELECT" in grant.privileges and grant.on.endswith(".*"):
            found = f"may read every table of {grant.on.removesuffix('.*')}, not only those that are needed"
            yield self.finding("hint", subject, found, f"REVOKE SELECT ON {grant.on} FROM {grant.grantee};", *again)

    def _user(self) -> str:
        name, _, host = str(self.ask("SELECT CURRENT_USER()")[0][0]).rpartition("@")
        return f"`{name}`@`{host}`"

    def _all_grants(self) -> list[Grant]:
        """The user's, and those of roles that it can take; each must be taken for its grants to be told."""
        lines = [str(row[0]) for row in self.ask("SHOW GRANTS")]
        for role in [match["role"] for line in lines if (match := _ROLE.match(line))]:
            try:
                self.ask(f"SET ROLE {role}")
                told = [str(row[0]) for row in self.ask("SHOW GRANTS")]
            except CollectorError as error:
                if error.reason not in ("auth", "query"):
                    raise
                continue
            lines += [line for line in told if line not in lines]
        return [grant for line in lines if (grant := Grant.of(line)) is not None]
