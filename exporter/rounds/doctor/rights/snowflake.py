"""The rights of a role of Snowflake, by statements on metadata, for which no warehouse is woken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rounds.doctor.finding import Finding
from rounds.doctor.rights.rights import Relation, Rights
from rounds.errors import CollectorError
from rounds.needs import TableNeed

_ADMINISTRATORS = ("ACCOUNTADMIN", "ORGADMIN", "SECURITYADMIN", "SYSADMIN", "USERADMIN", "GLOBALORGADMIN")
#: What reading takes, and what only looks.
_READING = frozenset(("USAGE", "SELECT", "REFERENCES", "MONITOR"))
#: Places in a row of ``SHOW GRANTS``.
_PRIVILEGE, _ON, _NAME = 1, 2, 3


class SnowflakeRights(Rights):
    """Rights in Snowflake."""

    product = "Snowflake"
    percent = "%"
    in_order = "is there, with the columns that are needed"

    def version(self) -> tuple[str, str]:
        """As the service says."""
        return f"Snowflake {self.ask('SELECT CURRENT_VERSION()')[0][0]}", ""

    def clock(self) -> float | None:
        """Its time."""
        return float(self.ask("SELECT DATE_PART(epoch_millisecond, CURRENT_TIMESTAMP())")[0][0]) / 1000

    def find(self, table: Sequence[str]) -> Relation:
        """Its columns are those that ``DESCRIBE`` tells. Names are in upper case, unless they were made in quotes."""
        folded = ".".join(
            part.upper() if part.replace("$", "_").isidentifier() else self.quoted(part) for part in table
        )
        for name in (folded, ".".join(map(self.quoted, table))):
            try:
                rows = self.ask(f"DESCRIBE TABLE {name}")
            except CollectorError as error:
                if error.reason not in ("auth", "query"):
                    raise
            else:
                return Relation(name, {str(row[0]): self.quoted(str(row[0])) for row in rows})
        return Relation(folded, {})

    def refused(self, relation: Relation, columns: str) -> CollectorError | None:
        """Whether the columns are there. A read would wake a warehouse; ``SELECT`` is looked for in the grants."""
        if not relation.columns:
            return CollectorError("query", "there is no such table, or it may not be seen")
        known = {*relation.columns.values(), *relation.columns, "*", "1"}
        if all(each in known for each in columns.split(", ")):
            return None
        return CollectorError("query", "there is no such column")

    def grants(self, relation: Relation, columns: Sequence[str]) -> tuple[str, ...]:  # noqa: ARG002
        """The table, its schema and its database."""
        role, (*above, _) = self._role(), relation.name.split(".")
        usage = [
            f"GRANT USAGE ON {kind} {'.'.join(above[: index + 1])} TO ROLE {role};"
            for index, kind in enumerate(("DATABASE", "SCHEMA")[: len(above)])
        ]
        return (*usage, f"GRANT SELECT ON TABLE {relation.name} TO ROLE {role};")

    def excess(self, needs: Sequence[TableNeed]) -> Iterator[Finding]:
        """Of the role itself; those that it inherits are named."""
        role = self._role()
        if not role:
            return
        if role in _ADMINISTRATORS:
            relations = [self.find(need.table) for need in needs]
            again = [
                line.replace(f"ROLE {role};", "ROLE rounds_reader;")
                for relation in relations
                for line in self.grants(relation, ())
            ]
            statements = (
                "CREATE ROLE rounds_reader;",
                *dict.fromkeys(again),
                f"role: rounds_reader, in sources.{self.source}",
            )
            yield self.finding("warning", role, "is an administrator's role", *statements)
        try:
            rows = self.ask(f"SHOW GRANTS TO ROLE {self.quoted(role)}")
        except CollectorError as error:
            if error.reason not in ("auth", "query"):
                raise
            told = "what the role may do cannot be asked"
            yield self.finding("hint", role, told, f"look yourself: SHOW GRANTS TO ROLE {role};")
            return
        yield from self._excess_of(role, rows, needs)

    def _excess_of(self, role: str, rows: Sequence[Sequence[object]], needs: Sequence[TableNeed]) -> Iterator[Finding]:
        clean = True
        for row in rows:
            privilege, on, name = str(row[_PRIVILEGE]), str(row[_ON]).replace("_", " "), str(row[_NAME])
            if on == "ROLE" and privilege == "USAGE":
                told = f"has everything that the role {name} has too"
                yield self.finding("hint", role, told, f"REVOKE ROLE {name} FROM ROLE {role};")
            elif privilege not in _READING:
                clean = False
                target = on if on == "ACCOUNT" else f"{on} {name}"
                found = f"has {privilege} on the {on.lower()} {name}"
                yield self.finding("warning", role, found, f"REVOKE {privilege} ON {target} FROM ROLE {role};")
        readable = {str(row[_NAME]).upper() for row in rows if str(row[_PRIVILEGE]) in ("SELECT", "OWNERSHIP")}
        inherits = any(str(row[_ON]) == "ROLE" for row in rows)
        for need in needs:
            relation = self.find(need.table)
            if (
                relation.name.upper() not in readable
                and not inherits
                and relation.columns
                and relation.name.count(".") > 1
            ):
                found = "is seen, but SELECT is not among the role's grants"
                subject = f"{relation.name} ({need.where})"
                yield self.finding("error", subject, found, *self.grants(relation, ()))
                clean = False
        if clean:
            yield self.finding("ok", role, "may change nothing")

    def _role(self) -> str:
        try:
            return str(self.ask("SELECT CURRENT_ROLE()")[0][0] or "")
        except CollectorError as error:
            if error.reason != "query":
                raise
            return ""
