"""The stand-in for Snowflake: where the environment of its server is, and how that is started."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

#: Names the Python of an environment that has fakesnow, where that is not the one that ``make`` prepares.
VARIABLE = "ROUNDS_FAKESNOW"
_PREPARED = Path(__file__).parents[3] / ".venv-fakesnow/bin/python"


def python() -> Path | None:
    """The Python that has fakesnow, None where there is none."""
    named = os.environ.get(VARIABLE)
    found = Path(named) if named else _PREPARED
    return found if found.exists() else None


def command(python: Path, port: int) -> list[str]:
    """What starts the server on 127.0.0.1."""
    # -E and -P: neither the variables nor the folder of this program may add to that environment's packages.
    return [str(python), "-E", "-P", str(Path(__file__).with_name("fakesnow_server.py")), f"--port={port}"]


def source(address: str, user: str) -> dict[str, Any]:
    """A source's configuration. Any password is good.

    Args:
        address: ``host:port`` of the server.
        user: who logs in.
    """
    host, _, port = address.rpartition(":")
    place = {"account": "demo", "host": host, "port": int(port), "protocol": "http"}
    return {"kind": "snowflake", **place, "user": user, "password": "synthetic"}
