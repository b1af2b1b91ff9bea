"""Who may read and change the files that hold secrets, and whether what they hold is what was meant."""

from __future__ import annotations

import os
import pwd
import shlex
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from rounds.doctor.finding import Finding, Level
from rounds.doctor.written import Written, replaced, written
from rounds.needs import FileNeed

_GROUP, _OTHERS, _CHANGE = 0o070, 0o007, 0o022
#: Where containers get secrets: in a file system of the container's own, whose modes are the engine's choice.
_MOUNTED = ("/run/secrets/", "/var/run/secrets/")
#: Secrets are short; what is longer is a key or a body, whose blanks mean nothing.
_LONGEST = 4096


def examine(
    configuration: Sequence[Path], web: Path | None, needs: Sequence[FileNeed], ledger: Path | None, salt: Path | None
) -> Iterator[Finding]:
    """Look at all files.

    Args:
        configuration: the configuration files.
        web: the file of ``--web.config.file``.
        needs: files that domains read.
        ledger: the ledger's file, None where it is on a server or not in use.
        salt: the salt's, None where none is in use.
    """
    literal = written(configuration)
    yield from _empty_variables(literal)
    secrets = {each.place.rpartition(":")[0] for each in literal if each.is_secret}
    for file in configuration:
        if file.exists():
            yield from _examine_configuration(file, [each for each in literal if each.is_secret and _in(each, file)])
    for each in literal:
        if each.names_file:
            yield from _examine_named(each)
    if web is not None:
        yield from _examine_web(web)
    for file in filter(None, (ledger, salt)):
        if file.exists():
            yield from _modes(file, str(file), secret=True)
    for need in needs:
        yield from _examine_needed(need)
    if not secrets and literal:
        yield Finding("ok", "files", ", ".join(map(str, configuration)), "no secret stands in the configuration itself")


def _in(each: Written, file: Path) -> bool:
    return each.place.rpartition(":")[0] == str(file)


def _empty_variables(literal: Sequence[Written]) -> Iterator[Finding]:
    for each in literal:
        for name, has_default in each.variables:
            if not has_default and os.environ.get(name) == "":
                remedy = f"set {name}, or write ${{{name}:-default}} in {each.place}"
                found = f"the environment variable {name} is set, but empty ({each.key})"
                yield Finding("warning", "configuration", each.place, found, (remedy,))


def _examine_configuration(file: Path, secrets: Sequence[Written]) -> Iterator[Finding]:
    mode = file.stat().st_mode
    if mode & _CHANGE:
        found = f"others may change the configuration (mode {_octal(mode)})"
        yield Finding("warning", "files", str(file), found, (f"chmod go-w {_quoted(file)}",))
    for each in secrets:
        if mode & _OTHERS:
            key = str(each.path[-1])
            remedies = (
                f"chmod 600 {_quoted(file)}",
                f"or put it into a file of mode 0600 and write {key}_file: in place of {key}:",
            )
            found = f"a secret stands here ({each.key}), and everybody may read it (mode {_octal(mode)})"
            yield Finding("warning", "files", each.place, found, remedies)


def _examine_named(each: Written) -> Iterator[Finding]:
    text = replaced(each.text, dict(os.environ))
    if not text:
        return
    path = Path(each.place.rpartition(":")[0]).parent / text
    subject = f"{each.key} ({path})"
    if each.path == ("state", "salt_file"):
        return
    yield from _examine_secret(
        path, subject, secret=each.names_secret_file, trimmed=not str(each.path[-1]).endswith(("key_file", "body_file"))
    )


def _examine_web(web: Path) -> Iterator[Finding]:
    if not web.exists():
        remedy = f"write it (docs/web-configuration.md), or start without --web.config.file={web}"
        yield Finding("error", "files", str(web), "the web configuration is not there", (remedy,))
        return
    literal = written([web])
    has_secret = any(each.path[0] == "basic_auth_users" or each.path[-1] == "key" for each in literal)
    yield from _modes(web, str(web), secret=has_secret)
    for each in literal:
        if each.names_file:
            path = web.parent / each.text
            yield from _examine_secret(path, f"{each.key} ({path})", secret=each.path[-1] == "key_file", trimmed=False)


def _examine_secret(path: Path, subject: str, *, secret: bool, trimmed: bool) -> Iterator[Finding]:
    """A file that is named: it must be there, hold something, and be readable by whom it should be alone."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        remedies = (f"install -m 600 /dev/null {_quoted(path)}, and write the secret into it",) if secret else ()
        yield Finding("error", "files", subject, "the file is not there", remedies or ("check its name",))
        return
    except OSError as error:
        remedy = f"chown {_me()} {_quoted(path)}, and chmod 600 {_quoted(path)}; the folders above need x"
        yield Finding("error", "files", subject, f"the file cannot be read: {error.strerror}", (remedy,))
        return
    if not data.strip():
        yield Finding("error", "files", subject, "the file is empty", (f"write the secret into {_quoted(path)}",))
    elif secret and trimmed and len(data) <= _LONGEST:
        yield from _blanks(path, subject, data)
    yield from _modes(path, subject, secret=secret)


def _blanks(path: Path, subject: str, data: bytes) -> Iterator[Finding]:
    kept = data.removesuffix(b"\n").removesuffix(b"\r")
    if kept != kept.rstrip():
        remedy = f"sed -i -z 's/[[:space:]]*$//' {_quoted(path)}"
        found = "what is in the file ends with blanks or empty lines, which are taken for a part of the secret"
        yield Finding("warning", "files", subject, found, (remedy,))
    if kept != kept.lstrip():
        remedy = f"sed -i -z 's/^[[:space:]]*//' {_quoted(path)}"
        found = "what is in the file begins with blanks or empty lines, which are taken for a part of the secret"
        yield Finding("warning", "files", subject, found, (remedy,))
    if data.startswith(b"\xef\xbb\xbf"):
        found = "the file begins with a byte order mark, which is taken for a part of the secret"
        yield Finding("warning", "files", subject, found, (f"sed -i '1s/^\\xEF\\xBB\\xBF//' {_quoted(path)}",))


def _modes(path: Path, subject: str, *, secret: bool) -> Iterator[Finding]:
    """Who else may read it, if it is secret, and who may change it."""
    try:
        status = path.stat()
    except OSError:
        return
    mode, before = status.st_mode, ()
    found: list[tuple[Level, str]] = []
    if mode & _CHANGE:
        found.append(("warning", f"others may change the file (mode {_octal(mode)})"))
    elif secret and mode & _OTHERS:
        mounted = str(path).startswith(_MOUNTED)
        found.append(("hint" if mounted else "warning", f"everybody may read the file (mode {_octal(mode)})"))
    elif secret and mode & _GROUP:
        found.append(("hint", f"the group {status.st_gid} may read the file (mode {_octal(mode)})"))
    for level, told in found:
        remedy = f"chmod {'600' if secret else 'go-w'} {_quoted(path)}"
        yield Finding(level, "files", subject, told, (*before, remedy))
    if secret and status.st_uid not in (0, os.geteuid()) and os.geteuid() != 0:
        told = f"the file belongs to {_user(status.st_uid)}, who may read and change it"
        yield Finding("warning", "files", subject, told, (f"chown {_me()} {_quoted(path)}",))
    elif secret and not found:
        yield Finding("ok", "files", subject, f"mode {_octal(mode)}")


def _examine_needed(need: FileNeed) -> Iterator[Finding]:
    path, subject = need.path, f"{need.where} ({need.path})"
    if not path.exists():
        remedy = f"check {need.where} in the configuration; in a container, mount it"
        yield Finding("warning", "files", subject, "there is no such file or folder, or it may not be seen", (remedy,))
    elif not os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0)):
        remedy = f"setfacl -m u:{_me()}:r{'X' if path.is_dir() else ''} {_quoted(path)}"
        yield Finding("warning", "files", subject, "it may not be read", (remedy,))
    else:
        yield Finding("ok", "files", subject, "it is there and may be read")


def _octal(mode: int) -> str:
    return f"{stat.S_IMODE(mode):04o}"


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"the user {uid}"


def _me() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
