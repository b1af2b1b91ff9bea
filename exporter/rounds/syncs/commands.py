"""``rounds syncs``: a live view of runs, and the closing of those that were given up."""

from __future__ import annotations

from rounds.commands import Command

COMMANDS: tuple[Command, ...] = ()
