"""Runs a command that cannot outlive the demo: ``python -m rounds.demo.tether PARENT_PID COMMAND...``.

A demo that is killed cannot end its children. On Linux the kernel does it: this process asks to be killed when its
parent dies, then becomes the command. It is not done between fork and exec, where Python code may deadlock in a
process that has threads. Elsewhere the command just runs.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent and become the command."""
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):  # it died before the kernel was asked
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 - the demo's own command, and no shell is wanted


if __name__ == "__main__":
    main()
