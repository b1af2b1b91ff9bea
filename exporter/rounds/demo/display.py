"""What the demo prints: plain lines with time offsets, a little coloured on a terminal."""

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
_COLOURS = {"red": "31", "green": "32", "yellow": "33", "dim": "2"}
_STATE_COLOURS = {"completed": "green", "partial": "yellow", "failed": "red", "timeout": "red"}
_SLACK_COLOURS = {"danger": "red", "warning": "yellow", "good": "green"}


class Display:
    """Prints blocks of lines, whole, from any thread.

    Args:
        stream: where to; coloured where it is a terminal and ``NO_COLOR`` is not set.
    """

    def __init__(self, stream: TextIO = sys.stdout) -> None:
        self._stream = stream
        self._coloured = stream.isatty() and not os.environ.get("NO_COLOR")
        self._begin = time.monotonic()
        self._lock = threading.Lock()

    def restart_clock(self) -> None:
        """Offsets count from now."""
        self._begin = time.monotonic()

    def plain(self, *lines: str) -> None:
        """Lines without an offset."""
        with self._lock:
            print(*lines, sep="\n", file=self._stream, flush=True)

    def event(self, origin: str, headline: str, *details: str, colour: str = "") -> None:
        """Something happened: when, where, what, and indented details."""
        minutes, seconds = divmod(int(time.monotonic() - self._begin), 60)
        start = self._paint(f"{minutes:02}:{seconds:02}  {origin:<12}", "dim")
        self.plain(start + self._paint(headline, colour), *(f"{'':<21}{line}".rstrip() for line in details))

    def script(self, sentence: str) -> None:
        """The script changed a service or a table."""
        self.event("script", sentence)

    def check(self, name: str, old: str, new: str) -> None:
        """The exporter changed a check's state."""
        self.event("exporter", f"{name}: {old} -> {new}", colour=_CHECK_COLOURS.get(new, "red"))

    def table(self, name: str, changes: Mapping[str, int], before: int, after: int) -> None:
        """The exporter found rows of a table changed."""
        found = ", ".join(f"{rows} {change}" for change, rows in changes.items())
        self.event("exporter", f"{name}: {found} ({before} -> {after})")

    def sync(self, name: str, state: str, progress: float) -> None:
        """The exporter saw a run come further, or end."""
        if state == "running":
            done = round(progress * _BAR)
            self.event("exporter", f"{name}: [{'#' * done}{'.' * (_BAR - done)}] {progress:.0%}")
        else:
            self.event("exporter", f"{name}: {state}", colour=_STATE_COLOURS.get(state, ""))

    def alert(self, name: str, about: str, *, firing: bool) -> None:
        """Prometheus began or ceased to hold an alert."""
        self.event("prometheus", f"{name} {'fires' if firing else 'is over'}{about}")

    def slack(self, message: SlackMessage) -> None:
        """A Slack message came."""
        colour = _SLACK_COLOURS.get(message.colour, "")
        state = "RESOLVED" if message.resolved else "FIRING"
        channel = f" in {message.channel}" if message.channel else ""
        head = f"{state} ({message.colour or 'no colour'}{channel}): {html.unescape(message.title)}"
        self.event("slack", head, *html.unescape(message.text).splitlines(), *message.links, colour=colour)

    def mail(self, mail: Mail) -> None:
        """An e-mail came."""
        text = mail.text or "(no text part)"
        lines = (f"From: {mail.message['From']}", f"To: {mail.message['To']}", "", *text.strip().splitlines())
        self.event("e-mail", f"Subject: {mail.subject}", *lines)

    def _paint(self, text: str, colour: str) -> str:
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if self._coloured and colour else text
