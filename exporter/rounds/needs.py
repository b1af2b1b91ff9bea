"""What a domain needs from outside: tables, addresses, files. Said by domains, examined by ``rounds doctor``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias


@dataclass(frozen=True)
class TableNeed:
    """A table of a source that is read.

    Attributes:
        where: the key of the configuration that asks for it, such as ``tables[0]``.
        source: the source's name.
        table: the parts of its name, without quotes: up to database, schema and name.
        columns: those that are read, None for all.
        optional: those that are read where they are there.
        may_be_absent: whether other tables of the same ``where`` will do instead.
        remedy: what makes the table where it is missing.
    """

    where: str
    source: str
    table: tuple[str, ...]
    columns: tuple[str, ...] | None = None
    optional: tuple[str, ...] = ()
    may_be_absent: bool = False
    remedy: str = "check the table's name in the configuration"


@dataclass(frozen=True)
class SourceNeed:
    """A source that is asked in another way than by reading tables, such as an HTTP API."""

    where: str
    source: str


@dataclass(frozen=True)
class AddressNeed:
    """A host that is connected to.

    Attributes:
        where: the key of the configuration that asks for it.
        url: its address; ``tcp://host:port`` where no HTTP is spoken.
        secret: whether what is sent there holds a secret.
    """

    where: str
    url: str
    secret: bool = False


@dataclass(frozen=True)
class FileNeed:
    """A file or folder that is read, besides sources."""

    where: str
    path: Path


Need: TypeAlias = TableNeed | SourceNeed | AddressNeed | FileNeed
