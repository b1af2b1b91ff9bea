"""What is asked of a source's session, whatever the source's kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rounds.databases.session import Row, Session
from rounds.doctor.finding import Finding, Level
from rounds.errors import CollectorError
from rounds.needs import TableNeed


@dataclass(frozen=True)
class Relation:
    """A table as a statement names it.

    Attributes:
        name: quoted, with its schema.
        columns: the names of its columns, quoted, by their names as the database spells them; those that may be seen.
    """

    name: str
    columns: Mapping[str, str]

    def spelled(self, column: str, otherwise: str) -> str:
        """A column's quoted name, in any case where that is clear; else what is given."""
        if column in self.columns:
            return self.columns[column]
        near = [quoted for name, quoted in self.columns.items() if name.casefold() == column.casefold()]
        return near[0] if len(near) == 1 else otherwise


class Rights(ABC):
    """Looks at one source over one session. Statements read catalogues, and no row of any table.

    Args:
        source: the source's name in the configuration.
        session: where statements run.
    """

    product: ClassVar[str]
    quote_mark: ClassVar[str] = '"'
    percent: ClassVar[str] = "%%"
    #: What is known of a table with which nothing is wrong.
    in_order: ClassVar[str] = "what is needed may be read"

    def __init__(self, source: str, session: Session) -> None:
        self.source = source
        self.session = session

    @abstractmethod
    def version(self) -> tuple[str, str]:
        """The server's version, and the oldest one that is known to work where this one is older; else ""."""

    def encrypted(self) -> bool | None:
        """Whether the session is encrypted; None where that is not asked."""
        return None

    def clock(self) -> float | None:
        """The server's time in Unix seconds; None where it is this machine's."""
        return None

    @abstractmethod
    def find(self, table: Sequence[str]) -> Relation:
        """A table; without columns where there is none, or none that may be seen."""

    @abstractmethod
    def grants(self, relation: Relation, columns: Sequence[str]) -> tuple[str, ...]:
        """The statements that let the user read a table, or only these quoted columns where some are named."""

    @abstractmethod
    def excess(self, needs: Sequence[TableNeed]) -> Iterator[Finding]:
        """What the user may do and need not."""

    def examine(self, needs: Sequence[TableNeed]) -> Iterator[Finding]:
        """Whether what is needed may be read, and nothing else may be done.

        Raises:
            CollectorError: the source fails.
        """
        absent: defaultdict[str, list[bool]] = defaultdict(list)
        for need in needs:
            finding = self._reading(need)
            if need.may_be_absent:
                absent[need.where].append(finding is None)
            if finding is not None:
                yield finding
        for where, missing in absent.items():
            if all(missing):
                remedy = f"check the path of sources.{self.source}, and that its program has run"
                yield self.finding("error", where, "the file has none of the tables that are read", remedy)
        yield from self.excess(needs)

    def finding(self, level: Level, subject: str, found: str, *remedy: str) -> Finding:
        """A finding about this source."""
        return Finding(level, "grants", f"{self.source}: {subject}", found, remedy)

    def quoted(self, name: str) -> str:
        """A name as a statement has it."""
        mark = self.quote_mark
        return mark + name.replace(mark, mark * 2).replace("%", self.percent) + mark

    def shown(self, text: str) -> str:
        """A statement as a person runs it, without what the driver needs."""
        return text.replace("%%", "%") if self.percent == "%%" else text

    def ask(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        """The rows of a statement."""
        return self.session.all(sql, parameters)

    def refused(self, relation: Relation, columns: str) -> CollectorError | None:
        """Why columns may not be read, None where they may.

        Raises:
            CollectorError: the source fails for another reason.
        """
        try:
            self.ask(f"SELECT {columns} FROM {relation.name} LIMIT 0")
        except CollectorError as error:
            if error.reason not in ("auth", "query"):
                raise
            return error
        return None

    def _reading(self, need: TableNeed) -> Finding | None:
        relation = self.find(need.table)
        subject = f"{'.'.join(need.table)} ({need.where})"
        if need.columns is None:
            columns: list[str] = []
        else:
            columns = [relation.spelled(name, self.quoted(name)) for name in need.columns]
            seen = [relation.spelled(name, "") for name in need.optional]
            columns += [quoted for quoted in seen if quoted]
        problem = self.refused(relation, ", ".join(columns) or "*")
        if problem is None:
            return self.finding("ok", subject, self.in_order)
        whole = self.refused(relation, "1") if columns else problem
        each = {} if whole else {column: self.refused(relation, column) for column in columns}
        missing = [self.shown(column) for column, error in each.items() if error and error.reason == "query"]
        if missing:
            found = f"there is no column {', '.join(missing)}"
            there = ", ".join(relation.columns) or "none that may be seen"
            return self.finding(
                "error", subject, found, f"check the columns' names in {need.where}; there are: {there}"
            )
        if whole and whole.reason == "query":
            if need.may_be_absent:
                return None
            return self.finding("error", subject, "there is no such table, or it may not be seen", need.remedy)
        forbidden = [column for column, error in each.items() if error]
        some = forbidden if len(forbidden) < len(columns) else []
        told = f"may not read {self.shown(', '.join(some)) if some else 'it'}"
        return self.finding("error", subject, told, *map(self.shown, self.grants(relation, some)))
