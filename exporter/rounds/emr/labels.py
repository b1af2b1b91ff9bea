"""Names that code gives, as labels: a bounded number of them, each with a place that it keeps."""

from __future__ import annotations

from typing import Literal, TypeAlias

from rounds.emr.config import App, Names, Operations
from rounds.emr.knowledge import Sheet
from rounds.emr.names import OTHER, label

#: Names whose labels are held in memory.
_REMEMBERED = 10_000

Kind: TypeAlias = Literal["operation", "event", "error_type"]


class Labels:
    """The labels of one application.

    Args:
        app: the configuration.
        places: names by kind and name, in the order in which they were first seen; names that have none yet get one.
    """

    def __init__(self, app: App, places: Sheet) -> None:
        self._configured: dict[Kind, Names | Operations] = {
            "operation": app.operations,
            "event": app.events,
            "error_type": app.error_types,
        }
        self._places = places
        self._taken = {kind: sum(each == kind for each, _ in places.items) for kind in self._configured}
        self._known: dict[tuple[Kind, object], str] = {}

    def of(self, kind: Kind, name: object) -> str:
        """A name's label: itself, or ``_other``."""
        found = self._known.get((kind, name))
        if found is None:
            if len(self._known) > _REMEMBERED:
                self._known.clear()
            found = self._known[kind, name] = self._find(kind, label(name))
        return found

    def exported(self, kind: Kind) -> list[str]:
        """Names that have series of their own."""
        configured = self._configured[kind]
        if configured.only is not None:
            return sorted({name for name in configured.only if label(name) == name} - {OTHER})
        return sorted(
            name for (each, name), (place,) in self._places.items.items() if each == kind and self._fits(kind, place)
        )

    def _find(self, kind: Kind, name: str) -> str:
        configured = self._configured[kind]
        if name == OTHER:
            return OTHER
        if configured.only is not None:
            return name if name in configured.only else OTHER
        place = self._places.items.get((kind, name))
        if place is not None:
            return name if self._fits(kind, place[0]) else OTHER
        if not self._fits(kind, self._taken[kind]):
            return OTHER
        self._places.put((kind, name), (self._taken[kind],))
        self._taken[kind] += 1
        return name

    def _fits(self, kind: Kind, place: int) -> bool:
        return place < self._configured[kind].max
