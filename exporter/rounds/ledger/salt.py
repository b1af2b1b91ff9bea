"""The installation's salt: kept in a file of its own, so that a stolen ledger alone reveals nothing."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

import structlog

from rounds.errors import ConfigError

_BYTES = 32
_SALT = re.compile(r"[0-9A-Fa-f]{64,}")
_OTHERS = 0o077

log = structlog.get_logger()


def read_salt(file: Path) -> str:
    """The salt in hexadecimal digits; made when the file is missing.

    Raises:
        ConfigError: the file cannot be read or made, or holds no salt.
    """
    try:
        text = file.read_text(encoding="ascii") if file.exists() else _make(file)
    except FileExistsError:  # another process was quicker
        return read_salt(file)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError([f"state.salt_file: {file} cannot be read or made: {why}"]) from None
    salt = text.strip()
    if not _SALT.fullmatch(salt):
        told = (
            f"state.salt_file: {file} holds no salt, that is 64 or more hexadecimal digits. Restore it from backup;"
            " or delete it to have another one made, then all tables are recorded anew"
        )
        raise ConfigError([told])
    if readable_by_others(file):
        log.warning("the salt can be read by other users; its mode should be 0600", file=str(file))
    return salt


def readable_by_others(file: Path) -> bool:
    """Whether anybody but the owner may do anything with the file."""
    return bool(file.stat().st_mode & _OTHERS)


def _make(file: Path) -> str:
    """Write a new one beside its place first, so that no crash leaves half a salt.

    Raises:
        FileExistsError: there is one meanwhile.
        OSError: it cannot be written.
    """
    text = secrets.token_hex(_BYTES)
    draft = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as stream:
        stream.write(text + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    try:
        os.link(draft, file)  # unlike a rename, refuses to replace one
    finally:
        draft.unlink()
    sync_folder(file.parent)
    return text


def sync_folder(folder: Path) -> None:
    """Make sure that the names in a folder last."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
