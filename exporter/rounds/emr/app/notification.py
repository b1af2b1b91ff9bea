"""Notifications of the desktop, by what the operating system has for them. Never by a shell.

Title and message are arguments or data of a program, never a part of a script: whatever they hold, they are shown.
"""

from __future__ import annotations

import html
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

#: Seconds that a notification may take to be accepted.
TIMEOUT = 5.0
_TITLE_MAX = 200
_MESSAGE_MAX = 1000
_URGENCY = {"critical": "critical", "error": "critical", "warning": "normal", "info": "low"}

# After "-", osascript takes what follows as it is, dashes too.
_OSASCRIPT = """on run argv
  display notification (item 2 of argv) with title (item 1 of argv)
end run
"""

# Nodes of text, so that nothing in them is markup. The identity is PowerShell's own, as an unknown one shows nothing.
_POWERSHELL = r"""$ErrorActionPreference = 'Stop'
$said = [Console]::In.ReadToEnd() | ConvertFrom-Json
[void][Windows.UI.Notifications.ToastNotificationManager, Windows.UI.Notifications, ContentType = WindowsRuntime]
$xml = [Windows.UI.Notifications.ToastNotificationManager]::GetTemplateContent(1)
$texts = $xml.GetElementsByTagName('text')
[void]$texts.Item(0).AppendChild($xml.CreateTextNode($said.title))
[void]$texts.Item(1).AppendChild($xml.CreateTextNode($said.message))
$who = '{1AC14E77-02E7-4E5D-B744-2EB1AE5198B7}\WindowsPowerShell\v1.0\powershell.exe'
$toast = [Windows.UI.Notifications.ToastNotification]::new($xml)
[Windows.UI.Notifications.ToastNotificationManager]::CreateToastNotifier($who).Show($toast)
"""


@dataclass(frozen=True)
class Command:
    """What shows a notification: a program with its arguments, and what it reads."""

    argv: list[str]
    input: bytes = b""


def command(app: str, severity: str, title: str, message: str, platform: str = sys.platform) -> Command | None:
    """What shows this on such a system, None where it has nothing for it."""
    title, message = _plain(title, _TITLE_MAX) or app, _plain(message, _MESSAGE_MAX)
    if platform == "darwin":
        return Command(["/usr/bin/osascript", "-", title, message], _OSASCRIPT.encode())
    if platform == "win32":
        windows = Path(os.environ.get("SYSTEMROOT", r"C:\Windows"))
        powershell = windows / "System32/WindowsPowerShell/v1.0/powershell.exe"
        # ASCII, whatever the console's code page.
        said = json.dumps({"title": title, "message": message}).encode("ascii")
        return Command([str(powershell), "-NoProfile", "-NonInteractive", "-Command", _POWERSHELL], said)
    program = shutil.which("notify-send")
    if program is None:
        return None
    options = ["--app-name", _plain(app, _TITLE_MAX), "--urgency", _URGENCY.get(severity, "normal")]
    # The desktop reads markup in the message, not in the title.
    return Command([program, *options, "--", title, html.escape(message, quote=False)])


def show(app: str, severity: str, title: str, message: str, timeout: float = TIMEOUT) -> bool:
    """Show a notification; whether the operating system has taken it. Waits for that at most so many seconds."""
    if hasattr(signal, "SIGCHLD") and signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
        return False  # Nobody would learn how the program ended.
    found = command(app, severity, title, message)
    if found is None:
        return False
    try:
        done = subprocess.run(  # noqa: S603  # no shell, and nothing of what is said is an option
            found.argv,
            input=found.input,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=timeout,
            check=False,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def _plain(text: str, longest: int) -> str:
    """The text without what no argument can hold, and not longer than anyone reads."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(each for each in text[:longest] if each in "\n\t" or each.isprintable())
