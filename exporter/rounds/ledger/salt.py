"""The installation's salt: kept in a file of its own, so that a stolen ledger alone reveals nothing."""

from __future__ import annotations

import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

import structlog

from rounds.errors import ConfigError

#: 128 bits, which nobody guesses. As 22 characters they and a short row fit one block of SHA-256; hexadecimal digits
#: would make it two, and a scan of a table a tenth longer.
_BYTES = 16
_SALT = re.compile(r"[0-9A-Za-z_-]{22,}")
_OTHERS = 0o077

log = structlog.get_logger()


def read_salt(file: Path) -> str:
    """The salt as text; made when the file is missing.

    Raises:
        ConfigError: the file cannot be read or made, or holds no salt.
    """
    try:
        if not file.exists():
            with suppress(FileExistsError):  # another process was quicker
                _make(file)
                log.info("a salt for hashes was made; keep a copy of it apart from the ledger", file=str(file))
        text = file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        why = str(error.strerror) if isinstance(error, OSError) else "it is not text"
        if not file.parent.is_dir():
            why += f'; make the folder {file.parent}, or name a file elsewhere, such as state: {{url: "sqlite:///state.db"}}'
        raise ConfigError([f"state.salt_file: {file} cannot be read or made: {why}"]) from None
    salt = text.strip()
    if not _SALT.fullmatch(salt):
        told = (
            f"state.salt_file: {file} holds no salt, that is 22 or more letters and digits. Restore it from backup;"
            " or delete it to have another one made, then all tables are recorded anew"
        )
        raise ConfigError([told])
    if readable_by_others(file):
        log.warning("the salt can be read by other users; its mode should be 0600", file=str(file))
    return salt


def readable_by_others(file: Path) -> bool:
    """Whether anybody but the owner may do anything with the file."""
    return bool(file.stat().st_mode & _OTHERS)


def _make(file: Path) -> None:
    """Write a new one beside its place first, so that no crash leaves half a salt.

    Raises:
        FileExistsError: there is one meanwhile.
        OSError: it cannot be written.
    """
    draft = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as stream:
        stream.write(secrets.token_urlsafe(_BYTES) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    try:
        os.link(draft, file)  # unlike a rename, refuses to replace one
    finally:
        draft.unlink()
    sync_folder(file.parent)


def sync_folder(folder: Path) -> None:
    """Make sure that the names in a folder last."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
