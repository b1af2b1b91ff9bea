"""What the demo prints: plain lines, and a chronicle in which each line says when, of which domain, and who speaks."""

from __future__ import annotations

import html
import os
import sys
import threading
import time
from collections.abc import Mapping
from typing import TextIO

from rounds.demo.catchers import Mail, SlackMessage

#: Characters of a progress bar.
_BAR = 20

_CHECK_COLOURS = {"up": "green", "healthy": "green", "degraded": "yellow"}
_COLOURS = {"red": "31", "green": "32", "yellow": "33", "dim": "2", "bold": "1"}
_STATE_COLOURS = {"completed": "green", "partial": "yellow", "failed": "red", "timeout": "red"}
_SLACK_COLOURS = {"danger": "red", "warning": "yellow", "good": "green"}
_DOMAIN_COLOURS = {"services": "36", "tables": "94", "apr": "95", "syncs": "96", "emr": "35"}


class Display:
    """Prints blocks of lines, whole, from any thread.

    Args:
        stream: where to, standard output where it is None; coloured where it is a terminal and ``NO_COLOR`` is not set.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._coloured = self._stream.isatty() and not os.environ.get("NO_COLOR")
        self._begin = time.monotonic()
        self._lock = threading.Lock()

    def restart_clock(self) -> None:
        """Offsets count from now."""
        self._begin = time.monotonic()

    def plain(self, *lines: str) -> None:
        """Lines without an offset."""
        with self._lock:
            print(*lines, sep="\n", file=self._stream, flush=True)

    def heading(self, text: str) -> None:
        """A line that begins a block of plain ones."""
        self.plain("", self._paint(text, _COLOURS["bold"]))

    def event(self, domain: str, origin: str, headline: str, *details: str, colour: str = "") -> None:
        """Something happened: when, in which domain, who says it, what, and indented details.

        Args:
            domain: or ``exporter``, for what concerns the watcher itself; empty where it is several.
            origin: who says it.
            headline: what.
            details: more lines.
            colour: of the headline: red, green or yellow.
        """
        start = self._paint(self.offset, _COLOURS["dim"])
        of = self._paint(f"{domain or '-':<10}", _DOMAIN_COLOURS.get(domain, ""))
        says = self._paint(f"{origin:<12}", _COLOURS["dim"])
        text = self._paint(headline, _COLOURS.get(colour, ""))
        self.plain(f"{start}  {of}{says}{text}", *(f"{'':<29}{line}".rstrip() for line in details))

    @property
    def offset(self) -> str:
        """Minutes and seconds since the clock began."""
        minutes, seconds = divmod(int(time.monotonic() - self._begin), 60)
        return f"{minutes:02}:{seconds:02}"

    def script(self, domain: str, sentence: str) -> None:
        """The script changed something."""
        self.event(domain, "script", sentence)

    def check(self, domain: str, name: str, old: str, new: str) -> None:
        """The exporter changed a check's state."""
        self.event(domain, "exporter", f"{name}: {old} -> {new}", colour=_CHECK_COLOURS.get(new, "red"))

    def table(self, name: str, changes: Mapping[str, int], before: int, after: int) -> None:
        """The exporter found rows of a table changed."""
        found = ", ".join(f"{rows} {change}" for change, rows in changes.items())
        self.event("tables", "exporter", f"{name}: {found} ({before} -> {after})")

    def sync(self, name: str, state: str, progress: float) -> None:
        """The exporter saw a run come further, or end."""
        if state == "running":
            done = round(progress * _BAR)
            self.event("syncs", "exporter", f"{name}: [{'#' * done}{'.' * (_BAR - done)}] {progress:.0%}")
        else:
            self.event("syncs", "exporter", f"{name}: {state}", colour=_STATE_COLOURS.get(state, ""))

    def state(self, domain: str, state: str) -> None:
        """The exporter saw a state begin that no other line tells of."""
        self.event(domain, "exporter", state, colour="green" if state == "resolved" else "yellow")

    def alert(self, domain: str, name: str, about: str, *, firing: bool) -> None:
        """Prometheus began or ceased to hold an alert."""
        self.event(domain, "prometheus", f"{name} {'fires' if firing else 'is over'}{about}")

    def slack(self, message: SlackMessage) -> None:
        """A Slack message came. Told are its title and its first line."""
        colour = _SLACK_COLOURS.get(message.colour, "")
        channel = f"{message.channel}: " if message.channel else ""
        lines = html.unescape(message.text).splitlines()[:1]
        self.event(message.component, "slack", channel + html.unescape(message.title), *lines, colour=colour)

    def mail(self, mail: Mail) -> None:
        """An e-mail came. Its text is that of the Slack message."""
        self.event(mail.component, "e-mail", f"To {mail.message['To']}: {mail.subject}")

    def _paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._coloured and code else text
