#!/usr/bin/env python3
"""Keeps the password of Grafana's first user in a file: ``admin_password.py FILE``.

The password is GRAFANA_ADMIN_PASSWORD where that is set, else what the file holds, else a new one that is printed.
Exit codes: 0 done, 1 the file could not be written, 2 the password cannot be used.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

USER = "admin"
RESET = "docker compose exec grafana grafana cli admin reset-admin-password NEW"


def choose(wanted: str, kept: str) -> tuple[str, str]:
    """The password, and what to say about it.

    Args:
        wanted: the one that is configured; empty for none.
        kept: the one of an earlier start; empty for none.

    Raises:
        ValueError: the configured one cannot be used. Its text does not show it.
    """
    if any(ord(char) < 0x20 or char == "\x7f" for char in wanted) or wanted != wanted.strip():  # noqa: PLR2004
        raise ValueError("GRAFANA_ADMIN_PASSWORD holds a control character, or begins or ends with a blank")
    if re.search(r"\$(__\w+)?\{[^}]+\}|%\([^)]+\)s", wanted):
        raise ValueError("GRAFANA_ADMIN_PASSWORD holds ${...} or %(...)s, which Grafana would replace")
    if wanted and kept and wanted != kept:
        # Grafana reads it when it makes its database, and never again.
        return (
            wanted,
            f"GRAFANA_ADMIN_PASSWORD has changed. Grafana keeps its own; change that too:\n    {RESET}",
        )
    if wanted:
        return wanted, f"Grafana's user is {USER}, with the password from GRAFANA_ADMIN_PASSWORD."
    if kept:
        return kept, f"Grafana's user is {USER}, with the password of its first start."
    made = secrets.token_urlsafe(18)
    return made, f"Grafana's user is {USER}, and the password that was made for it is:\n    {made}"


def main(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Run the command; returns its exit code."""
    if len(arguments) != 1:
        print("usage: admin_password.py FILE", file=sys.stderr)
        return 2
    file = Path(arguments[0])
    try:
        kept = file.read_text(encoding="utf-8").strip() if file.exists() else ""
        password, message = choose(environment.get("GRAFANA_ADMIN_PASSWORD", "").strip("\r\n"), kept)
        if password != kept:
            _write(file, password)
    except ValueError as error:
        print(f"admin_password.py: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"admin_password.py: cannot write {file}: {error.strerror}", file=sys.stderr)
        return 1
    print(message)
    return 0


def _write(file: Path, password: str) -> None:
    """Whole or not at all, and never readable by others, not even for a moment."""
    temporary = file.with_name(f".{file.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(password + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(file)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
