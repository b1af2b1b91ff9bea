"""Runs a command that cannot outlive the demo: ``python -m rounds.demo.tether PARENT_PID [--user=NAME] COMMAND...``.

A demo that is killed cannot end its children. On Linux the kernel does it: this process asks to be killed when its
parent dies, then becomes the command. It is not done between fork and exec, where Python code may deadlock in a
process that has threads. Elsewhere the command just runs.

Root may give another user to become first: one who need not be able to read this file. Asking comes after that, since
the kernel forgets it when the user changes.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import sys

_PR_SET_PDEATHSIG = 1
_USER = "--user="


def main() -> None:
    """Tie this process to its parent and become the command."""
    parent, *command = sys.argv[1:]
    if command[0].startswith(_USER):
        _become(command.pop(0).removeprefix(_USER))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):  # it died before the kernel was asked
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 - the demo's own command, and no shell is wanted


def _become(name: str) -> None:
    user = pwd.getpwnam(name)
    os.initgroups(name, user.pw_gid)
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)


if __name__ == "__main__":
    main()
