"""The section ``tables``: which tables are watched, and how."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from rounds.fields import SHOWN_TYPE, Duration, Integer, Model, Name, SourceName, problem

#: Longest row of names that a table's name may have: database, schema, table.
_PARTS = 3


def _table(text: str) -> str:
    parts = split_name(text)
    if not 1 <= len(parts) <= _PARTS or not all(part.strip('"') for part in parts):
        raise problem("should be a table's name such as patients or development.patients.patients")
    return text


def split_name(text: str) -> list[str]:
    """The parts of a qualified name, each as written: with its double quotes where it has them."""
    parts, part, quoted = [], "", False
    for character in text:
        if character == '"':
            quoted = not quoted
        if character == "." and not quoted:
            parts.append(part)
            part = ""
        else:
            part += character
    return [*parts, part]


def _several(value: object) -> object:
    return [value] if isinstance(value, str) else value


Columns = Annotated[
    list[Annotated[str, Field(min_length=1)]],
    BeforeValidator(_several),
    Field(min_length=1),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
            ],
            SHOWN_TYPE: "text, or list of texts",
        }
    ),
]


class WatchedTable(Model):
    """A table whose inserted, deleted and modified rows are counted."""

    name: Name
    """What it is called in metrics and messages: the label ``table``. Its collector and its job are ``tables/NAME``."""
    source: Annotated[str, SourceName("snowflake", "mariadb", "postgresql", "sqlite")]
    """The source that it is read from."""
    table: Annotated[str, AfterValidator(_table)]
    """Its name in the database: up to database, schema and table, joined by dots. As in SQL, a part in double quotes is
    taken as it is; another is folded as the database folds names."""
    key: Columns = ["ID"]
    """The column that tells rows apart, or a list of columns. Case does not matter where only one column fits."""
    columns: Columns | None = None
    """The columns that are compared besides the key; all when absent."""
    keys: Literal["hashed", "raw"] = "hashed"
    """``hashed``: keys leave the database as keyed hashes only. ``raw``: as they are, so that the journal names
    them and integer keys are cut into ranges."""
    key_max: bool = True
    """Export the largest value of an integer key."""
    interval: Duration = 3600
    """From the start of one check to the start of the next."""
    timeout: Duration = 600
    """Longest time that a statement may take, in the database too; a check gets 30 s more."""
    full_check_every: Duration = 86_400
    """A scan at least this often, even if the database says that nothing was committed; at least ``interval``."""
    journal_max: Annotated[Integer, Field(ge=0)] = 10_000
    """Most keys that the journal keeps of one check; the rest is counted. 0 keeps none."""
    mass_deletion_ratio: Annotated[float, Field(gt=0, le=1)] = 0.1
    """The share of the rows whose loss is a critical alert."""

    @model_validator(mode="after")
    def _full_check_is_longer(self) -> Self:
        if self.full_check_every < self.interval:
            raise problem("should not be shorter than interval", "full_check_every")
        folded = [name.casefold() for name in [*self.key, *(self.columns or [])]]
        if len(set(folded)) < len(folded):
            raise problem(
                "should name each column once, and no column of the key", "columns" if self.columns else "key"
            )
        return self


def _unique(tables: list[WatchedTable]) -> list[WatchedTable]:
    names: set[str] = set()
    for index, table in enumerate(tables):
        if table.name in names:
            raise problem(f"there is another table named {table.name}", index, "name")
        names.add(table.name)
    return tables


TablesSection = Annotated[list[WatchedTable], AfterValidator(_unique)]
