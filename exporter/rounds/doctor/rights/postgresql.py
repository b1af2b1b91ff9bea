"""The rights of a role of PostgreSQL, by its catalogues."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rounds.doctor.finding import Finding
from rounds.doctor.rights.rights import Relation, Rights
from rounds.needs import TableNeed

_OLDEST = 13
#: Attributes of a role, and what takes each away.
_ATTRIBUTES = {
    "rolsuper": ("is a superuser: nothing is refused to it", "NOSUPERUSER"),
    "rolcreaterole": ("may make and change roles (CREATEROLE)", "NOCREATEROLE"),
    "rolcreatedb": ("may make databases (CREATEDB)", "NOCREATEDB"),
    "rolreplication": ("may copy the whole server (REPLICATION)", "NOREPLICATION"),
    "rolbypassrls": ("passes by the security of rows (BYPASSRLS)", "NOBYPASSRLS"),
}
#: Predefined roles that look at the server, and at no row.
_HARMLESS = ("pg_monitor", "pg_read_all_settings", "pg_read_all_stats", "pg_stat_scan_tables")
#: Names shown of tables that need not be read.
_SHOWN = 5

_ROLES = """
WITH RECURSIVE mine_ AS (
  SELECT oid FROM pg_roles WHERE rolname = current_user
  UNION
  SELECT m.roleid FROM pg_auth_members AS m JOIN mine_ ON m.member = mine_.oid
)
"""
_OURS = "n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'"
#: Privileges beyond reading, by what they are on and who has them.
_EXCESS = f"""
{_ROLES}
SELECT kind_, name_, CASE grantee_ WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee_)) END,
  string_agg(privilege_, ', ' ORDER BY privilege_)
FROM (
  SELECT DISTINCT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind_,
    quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name_, a.grantee AS grantee_,
    a.privilege_type AS privilege_
  FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace, aclexplode(c.relacl) AS a
  WHERE {_OURS} AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    AND a.privilege_type <> 'SELECT' AND a.grantee <> c.relowner
  UNION ALL
  SELECT DISTINCT 'TABLE', quote_ident(n.nspname) || '.' || quote_ident(c.relname), a.grantee,
    a.privilege_type || ' (' || quote_ident(t.attname) || ')'
  FROM pg_attribute AS t JOIN pg_class AS c ON c.oid = t.attrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace,
    aclexplode(t.attacl) AS a
  WHERE {_OURS} AND a.privilege_type <> 'SELECT' AND a.grantee <> c.relowner
  UNION ALL
  SELECT DISTINCT 'SCHEMA', quote_ident(n.nspname), a.grantee, a.privilege_type
  FROM pg_namespace AS n, aclexplode(n.nspacl) AS a
  WHERE {_OURS} AND a.privilege_type <> 'USAGE' AND a.grantee <> n.nspowner
  UNION ALL
  SELECT DISTINCT 'DATABASE', quote_ident(d.datname), a.grantee, a.privilege_type
  FROM pg_database AS d, aclexplode(d.datacl) AS a
  WHERE d.datname = current_database() AND a.privilege_type = 'CREATE' AND a.grantee <> d.datdba
) AS all_
WHERE grantee_ = 0 OR grantee_ IN (SELECT oid FROM mine_)
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
_OWNED = f"""
{_ROLES}
SELECT 'TABLE', quote_ident(n.nspname) || '.' || quote_ident(c.relname), quote_ident(pg_get_userbyid(c.relowner))
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE {_OURS} AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relowner IN (SELECT oid FROM mine_)
UNION ALL
SELECT 'SCHEMA', quote_ident(n.nspname), quote_ident(pg_get_userbyid(n.nspowner))
FROM pg_namespace AS n WHERE {_OURS} AND n.nspowner IN (SELECT oid FROM mine_)
UNION ALL
SELECT 'DATABASE', quote_ident(datname), quote_ident(pg_get_userbyid(datdba))
FROM pg_database WHERE datname = current_database() AND datdba IN (SELECT oid FROM mine_)
ORDER BY 1, 2
"""


class PostgresqlRights(Rights):
    """Rights in PostgreSQL."""

    product = "PostgreSQL"

    def version(self) -> tuple[str, str]:
        """As the server says."""
        text, number = self.ask("SELECT current_setting('server_version'), current_setting('server_version_num')::int")[
            0
        ]
        return f"PostgreSQL {str(text).partition(' ')[0]}", str(_OLDEST) if int(number) < _OLDEST * 10_000 else ""

    def encrypted(self) -> bool | None:
        """By the session's entry."""
        rows = self.ask("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        return bool(rows and rows[0][0])

    def clock(self) -> float | None:
        """Its time."""
        return float(self.ask("SELECT extract(epoch FROM clock_timestamp())")[0][0])

    def find(self, table: Sequence[str]) -> Relation:
        """With all columns; catalogues can be read by everybody."""
        *schema, name = table[-2:]
        where = "lower(n.nspname) = lower(%s)" if schema else "n.nspname IN (current_user, 'public')"
        rows = self.ask(
            "SELECT n.nspname, c.relname, t.attname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
            " LEFT JOIN pg_attribute AS t ON t.attrelid = c.oid AND t.attnum > 0 AND NOT t.attisdropped"
            f" WHERE lower(c.relname) = lower(%s) AND {where} AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"
            " ORDER BY c.relname = %s DESC, n.nspname = 'public', n.nspname, c.relname, t.attnum",
            (name, *schema, name),
        )
        if not rows:
            return Relation(".".join(map(self.quoted, (*schema, name))), {})
        first = rows[0][:2]
        columns = {str(row[2]): self.quoted(str(row[2])) for row in rows if row[:2] == first and row[2] is not None}
        return Relation(".".join(map(self.quoted, map(str, first))), columns)

    def grants(self, relation: Relation, columns: Sequence[str]) -> tuple[str, ...]:
        """The table, and its schema where that may not be used."""
        user, schema = self._user(), relation.name.rpartition(".")[0]
        what = f"SELECT ({', '.join(columns)})" if columns else "SELECT"
        statements = [f"GRANT {what} ON {relation.name} TO {user};"]
        if (
            schema
            and not self.ask("SELECT has_schema_privilege(%s::regnamespace, 'USAGE')", (self.shown(schema),))[0][0]
        ):
            statements.insert(0, f"GRANT USAGE ON SCHEMA {schema} TO {user};")
        return tuple(statements)

    def excess(self, needs: Sequence[TableNeed]) -> Iterator[Finding]:
        """Of the role, of those that it is a member of, and of everybody."""
        user, found = self._user(), list[Finding]()
        found += self._attributes()
        superuser = bool(found) and "superuser" in found[0].found
        if not superuser:
            found += [*self._memberships(), *self._ownership(), *self._privileges(user)]
        yield from found
        if not found:
            yield self.finding("ok", user, "may change nothing")
        if not superuser:
            yield from self._further(user, needs)

    def _user(self) -> str:
        return str(self.ask("SELECT quote_ident(current_user)")[0][0])

    def _attributes(self) -> Iterator[Finding]:
        names = ", ".join(_ATTRIBUTES)
        rows = self.ask(
            f"{_ROLES} SELECT quote_ident(rolname), {names} FROM pg_roles WHERE oid IN (SELECT oid FROM mine_)"
            " ORDER BY rolname <> current_user, rolname"
        )
        for role, *values in rows:
            for (found, remedy), value in zip(_ATTRIBUTES.values(), values, strict=True):
                if value:
                    yield self.finding("warning", str(role), found, f"ALTER ROLE {role} {remedy};")

    def _memberships(self) -> Iterator[Finding]:
        rows = self.ask(
            f"{_ROLES} SELECT r.rolname, quote_ident(m.rolname) FROM pg_auth_members AS a"
            " JOIN pg_roles AS r ON r.oid = a.roleid JOIN pg_roles AS m ON m.oid = a.member"
            " WHERE a.member IN (SELECT oid FROM mine_) AND r.rolname LIKE 'pg\\_%%' ORDER BY 1, 2"
        )
        for role, member in rows:
            if role not in _HARMLESS:
                yield self.finding("warning", str(member), f"is a member of {role}", f"REVOKE {role} FROM {member};")

    def _ownership(self) -> Iterator[Finding]:
        heir = self.ask("SELECT quote_ident(rolname) FROM pg_roles WHERE oid = 10")[0][0]
        for kind, name, owner in self.ask(_OWNED):
            statements: tuple[str, ...] = (f"ALTER {kind} {name} OWNER TO {heir};",)
            if kind == "TABLE":
                statements += (f"GRANT SELECT ON {name} TO {owner};",)
            elif kind == "SCHEMA":
                statements += (f"GRANT USAGE ON SCHEMA {name} TO {owner};",)
            found = f"owns the {kind.lower()} {name}, so it may do everything with it"
            yield self.finding("warning", str(owner), found, *statements)

    def _privileges(self, user: str) -> Iterator[Finding]:
        for kind, name, grantee, privileges in self.ask(_EXCESS):
            whose = user if grantee == user else f"{user}, by {grantee}"
            found = f"has {privileges} on the {kind.lower()} {name}"
            yield self.finding("warning", whose, found, f"REVOKE {privileges} ON {kind} {name} FROM {grantee};")

    def _further(self, user: str, needs: Sequence[TableNeed]) -> Iterator[Finding]:
        needed = {self.shown(self.find(need.table).name.replace('"', "")) for need in needs}
        rows = self.ask(
            "SELECT n.nspname || '.' || c.relname, quote_ident(n.nspname) || '.' || quote_ident(c.relname)"
            " FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
            f" WHERE {_OURS} AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND has_schema_privilege(n.oid, 'USAGE')"
            " AND has_table_privilege(c.oid, 'SELECT') ORDER BY 1"
        )
        further = [str(quoted) for name, quoted in rows if name not in needed]
        if further:
            shown = ", ".join(further[:_SHOWN]) + (f" and {len(further) - _SHOWN} more" if further[_SHOWN:] else "")
            statements = [f"REVOKE SELECT ON {each} FROM {user};" for each in further[:_SHOWN]]
            yield self.finding("hint", user, f"may also read {shown}, which nothing here needs", *statements)
