"""``rounds emr``: what a store says of the last hours or days, and the removal of what is old."""

from __future__ import annotations

from rounds.commands import Command

COMMANDS: tuple[Command, ...] = ()
