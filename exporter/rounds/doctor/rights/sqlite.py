"""What a SQLite file lets everybody do: it knows no users, only modes."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from rounds.databases.session import Session
from rounds.doctor.finding import Finding
from rounds.doctor.rights.rights import Relation, Rights
from rounds.needs import TableNeed

_OTHERS_CHANGE = 0o002


class SqliteRights(Rights):
    """Rights to a SQLite file."""

    product = "SQLite"
    percent = "%"

    def __init__(self, source: str, session: Session, path: Path) -> None:
        super().__init__(source, session)
        self._path = path

    def version(self) -> tuple[str, str]:
        """Of the library that reads it."""
        return f"SQLite {self.ask('SELECT sqlite_version()')[0][0]}", ""

    def find(self, table: Sequence[str]) -> Relation:
        """With its columns."""
        name = table[-1]
        rows = self.ask("SELECT name FROM pragma_table_xinfo(?) WHERE hidden <> 1", (name,))
        return Relation(self.quoted(name), {str(row[0]): self.quoted(str(row[0])) for row in rows})

    def quoted(self, name: str) -> str:
        """In backquotes: a name in double quotes that is no column's would be a text."""
        return "`" + name.replace("`", "``") + "`"

    def grants(self, relation: Relation, columns: Sequence[str]) -> tuple[str, ...]:  # noqa: ARG002
        """The file's."""
        return (f"chmod o+r {shlex.quote(str(self._path))}",)

    def excess(self, needs: Sequence[TableNeed]) -> Iterator[Finding]:  # noqa: ARG002
        """Whether it could be changed, though Rounds only reads it."""
        mode, path = self._path.stat().st_mode, shlex.quote(str(self._path))
        if mode & _OTHERS_CHANGE:
            found = f"everybody may change the file (mode {stat.S_IMODE(mode):04o})"
            yield self.finding("warning", str(self._path), found, f"chmod o-w {path}")
        elif os.geteuid() != 0 and os.access(self._path, os.W_OK):
            found = "this user may change the file; Rounds opens it for reading only"
            remedy = "run the exporter as a user of its own, who may read the file and its folder"
            yield self.finding("hint", str(self._path), found, remedy)
        else:
            yield self.finding("ok", str(self._path), f"mode {stat.S_IMODE(mode):04o}; it is opened for reading only")
