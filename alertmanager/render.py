#!/usr/bin/env python3
"""Makes Alertmanager's configuration from alertmanager.yml beside this file and the environment.

Alertmanager does not expand variables in its configuration, on principle. So this writes, into a folder of its own:

    alertmanager.yml          the tree with the configured channels; the others are taken out
    templates/*.tmpl          the message templates, and links.tmpl with the addresses that links start with
    secrets/slack_webhook_url, secrets/smtp_password

Each variable can be given as a file instead: NAME_FILE holds the path of a file with the value. An empty variable is
one that is not set; a channel whose variables are not set is off.

    SLACK_WEBHOOK_URL        Slack is on; an incoming webhook
    SLACK_CHANNEL            the channel, if the webhook lets one choose
    SLACK_CHANNEL_CRITICAL   the channel for critical alerts (default: SLACK_CHANNEL)
    SMTP_HOST                e-mail is on; the mail server
    SMTP_PORT                default: 587 with starttls, 465 with implicit, 25 with none
    SMTP_TLS                 starttls (default), implicit (default with port 465), none
    SMTP_FROM, SMTP_TO       sender; receivers, separated by commas
    SMTP_USER, SMTP_PASSWORD if the mail server wants them
    ALERT_WEBHOOK_URL        the webhook is on: all alerts as JSON
    DEADMAN_WEBHOOK_URL      called every minute or two while alerting works
    GRAFANA_URL              where dashboards are, for links, such as https://grafana.example.org
    RUNBOOK_URL              what stands before /docs/runbooks/NAME.md, for links

Exit codes: 0 done, 1 the files could not be written, 2 the settings are wrong; nothing is written then.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

HERE = Path(__file__).resolve().parent

#: What Go's SMTP client takes as local: it sends a password without TLS to these only.
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
PORTS = {"starttls": 587, "implicit": 465, "none": 25}
IMPLICIT_TLS_PORT = 465
CHANNELS = ("slack_configs", "email_configs", "webhook_configs")
SLACK_SECRET = "slack_webhook_url"  # noqa: S105 - the name of a file
SMTP_SECRET = "smtp_password"  # noqa: S105 - the name of a file

#: One for each format a link is written in: the template for all links of an alert, and the one for a single link.
LINKS = (
    ("rounds.slack.links", "rounds.slack.anchor"),
    ("rounds.email.links", "rounds.email.anchor"),
    ("rounds.email.lines", "rounds.email.line"),
)

VARIABLES = (
    "SLACK_WEBHOOK_URL",
    "SLACK_CHANNEL",
    "SLACK_CHANNEL_CRITICAL",
    "SMTP_HOST",
    "SMTP_PORT",
    "SMTP_TLS",
    "SMTP_FROM",
    "SMTP_TO",
    "SMTP_USER",
    "SMTP_PASSWORD",
    "ALERT_WEBHOOK_URL",
    "DEADMAN_WEBHOOK_URL",
    "GRAFANA_URL",
    "RUNBOOK_URL",
)

#: What there is to turn on, with the variables that do.
DESCRIBED = {
    "Slack": ("SLACK_WEBHOOK_URL",),
    "e-mail": ("SMTP_HOST", "SMTP_FROM", "SMTP_TO"),
    "webhook": ("ALERT_WEBHOOK_URL",),
    "dead man's switch": ("DEADMAN_WEBHOOK_URL",),
    "links to Grafana": ("GRAFANA_URL",),
    "links to runbooks": ("RUNBOOK_URL",),
}
#: One of these is needed for anything to be sent about an alert.
CHANNEL_VARIABLES = ("SLACK_WEBHOOK_URL", "SMTP_HOST", "ALERT_WEBHOOK_URL")

#: What Alertmanager, or a newer version of it, runs through its templates before use.
TEMPLATED = (
    "SLACK_CHANNEL",
    "SLACK_CHANNEL_CRITICAL",
    "SMTP_FROM",
    "SMTP_TO",
    "ALERT_WEBHOOK_URL",
    "DEADMAN_WEBHOOK_URL",
)


class SettingsError(Exception):
    """The settings do not make a configuration. Its text never holds a secret."""


@dataclass(frozen=True)
class Rendered:
    """The files to write: by path below the output folder."""

    config: str
    links: str
    secrets: Mapping[str, str]


def read_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that are set, from the environment or from files, without line breaks at their ends.

    Raises:
        SettingsError: for a variable that is given twice, a file that cannot be read, or a value of several lines.
    """
    settings: dict[str, str] = {}
    for name in VARIABLES:
        value = environment.get(name, "").strip("\r\n")
        path = environment.get(f"{name}_FILE", "")
        if value and path:
            raise SettingsError(f"{name} and {name}_FILE are both set; give one of them")
        if path:
            try:
                value = Path(path).read_text(encoding="utf-8").strip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
                raise SettingsError(f"{name}_FILE: cannot read {path}: {reason}") from None
            if not value:
                raise SettingsError(f"{name}_FILE: {path} is empty")
        if any(ord(char) < 0x20 or char == "\x7f" for char in value):  # noqa: PLR2004
            raise SettingsError(f"{name} holds a line break or another control character")
        if value != value.strip():
            # Alertmanager cuts them off when it reads a password's file.
            raise SettingsError(f"{name} begins or ends with a blank")
        if name in TEMPLATED and "{{" in value:
            raise SettingsError(f"{name} holds {{{{, which Alertmanager reads as the start of a template")
        if value:
            settings[name] = value
    return settings


def render(settings: Mapping[str, str], tree: Mapping[str, Any], secrets_folder: str) -> Rendered:
    """Make the files' contents.

    Args:
        settings: as :func:`read_settings` returns them.
        tree: the parsed alertmanager.yml with all channels.
        secrets_folder: where Alertmanager finds the secrets; an absolute path.

    Raises:
        SettingsError: when the settings do not fit together.
    """
    # A copy in which nothing is shared: what is an alias in the file is one object after parsing.
    config = json.loads(json.dumps(tree))
    general: dict[str, Any] = config["global"]
    secrets: dict[str, str] = {}
    slack = _slack(settings, general, secrets, secrets_folder)
    email = _email(settings, general, secrets, secrets_folder)
    webhook = _url(settings, "ALERT_WEBHOOK_URL")
    deadman = _url(settings, "DEADMAN_WEBHOOK_URL")
    for receiver in config["receivers"]:
        name = receiver["name"]
        _each(receiver, "slack_configs", slack and slack.get(name, slack["*"]))
        _each(receiver, "email_configs", email)
        url = deadman if name == "deadman" else webhook
        _each(receiver, "webhook_configs", url and {"url": url})
    return Rendered(
        config="# Made by render.py. Change alertmanager.yml or the environment instead.\n"
        + yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=10_000),
        links=_links(_base(settings, "RUNBOOK_URL"), _base(settings, "GRAFANA_URL")),
        secrets=secrets,
    )


def described(settings: Mapping[str, str]) -> list[str]:
    """Lines for people: which channels and links there are, and which variables would turn on the others."""
    lines = []
    for name, variables in DESCRIBED.items():
        missing = [variable for variable in variables if variable not in settings]
        lines.append(f"{name}: not configured ({', '.join(variables)})" if missing else f"{name}: on")
    if not any(variable in settings for variable in CHANNEL_VARIABLES):
        lines.append(
            "No channel is configured: nothing is sent, and alerts are shown in Alertmanager and Grafana only."
        )
    return lines


def _each(receiver: dict[str, Any], key: str, values: Mapping[str, Any] | str | None) -> None:
    """Put values into each of a receiver's channels of one kind, or take them out."""
    if key not in receiver:
        return
    if not isinstance(values, Mapping):
        del receiver[key]
        return
    for channel in receiver[key]:
        for name, value in values.items():
            if value is None:
                channel.pop(name, None)
            else:
                channel[name] = value


def _slack(
    settings: Mapping[str, str], general: dict[str, Any], secrets: dict[str, str], folder: str
) -> dict[str, dict[str, str | None]] | None:
    general.pop("slack_api_url_file", None)
    url = _url(settings, "SLACK_WEBHOOK_URL")
    if not url:
        for name in ("SLACK_CHANNEL", "SLACK_CHANNEL_CRITICAL"):
            if name in settings:
                raise SettingsError(f"{name} is set, but SLACK_WEBHOOK_URL is not")
        return None
    general["slack_api_url_file"] = f"{folder}/{SLACK_SECRET}"
    secrets[SLACK_SECRET] = url
    channel = settings.get("SLACK_CHANNEL")
    return {"*": {"channel": channel}, "critical": {"channel": settings.get("SLACK_CHANNEL_CRITICAL", channel)}}


def _email(
    settings: Mapping[str, str], general: dict[str, Any], secrets: dict[str, str], folder: str
) -> dict[str, str | None] | None:
    for key in [key for key in general if key.startswith("smtp_")]:
        del general[key]
    host = settings.get("SMTP_HOST")
    if not host:
        for name in VARIABLES:
            if name.startswith("SMTP_") and name in settings:
                raise SettingsError(f"{name} is set, but SMTP_HOST is not")
        return None
    if re.search(r"[\s/@\[\]]", host) or host.count(":") == 1:
        raise SettingsError("SMTP_HOST should be a host name or address alone; the port goes into SMTP_PORT")
    receivers = _addresses(settings)
    tls, port = _transport(settings)
    general["smtp_smarthost"] = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    general["smtp_from"] = settings["SMTP_FROM"]
    # It demands STARTTLS, which a connection that began with TLS does not offer.
    general["smtp_require_tls"] = tls == "starttls"
    password = _password(settings, safe=tls != "none" or host in LOCAL_HOSTS)
    if password:
        general["smtp_auth_username"] = settings["SMTP_USER"]
        general["smtp_auth_password_file"] = f"{folder}/{SMTP_SECRET}"
        secrets[SMTP_SECRET] = password
    return {"to": ", ".join(receivers)}


def _password(settings: Mapping[str, str], *, safe: bool) -> str | None:
    user, password = settings.get("SMTP_USER"), settings.get("SMTP_PASSWORD")
    if user and not password:
        raise SettingsError("SMTP_USER is set, but SMTP_PASSWORD is not")
    if password and not user:
        raise SettingsError("SMTP_PASSWORD is set, but SMTP_USER is not")
    if user and not safe:
        raise SettingsError(
            "SMTP_USER needs TLS: with SMTP_TLS=none the password would cross the network in the clear, "
            "and Alertmanager refuses to send it"
        )
    return password


def _addresses(settings: Mapping[str, str]) -> list[str]:
    for name in ("SMTP_FROM", "SMTP_TO"):
        if name not in settings:
            raise SettingsError(f"SMTP_HOST is set, but {name} is not")
    receivers = [part.strip() for part in settings["SMTP_TO"].split(",")]
    for name, addresses in (("SMTP_FROM", [settings["SMTP_FROM"]]), ("SMTP_TO", receivers)):
        for address in addresses:
            if not address.isascii():
                # Alertmanager would encode the whole line, addresses too, and mail programs could not answer.
                raise SettingsError(f"{name} should hold ASCII only")
            if not re.fullmatch(r"[^@<>,]*<[^\s@<>,]+@[^\s@<>,]+>|[^\s@<>,]+@[^\s@<>,]+", address):
                raise SettingsError(f"{name} should hold mail addresses such as operations@example.org")
    return receivers


def _transport(settings: Mapping[str, str]) -> tuple[str, int]:
    text = settings.get("SMTP_PORT", "")
    if text and not (text.isascii() and text.isdecimal() and 1 <= int(text) <= 65_535):  # noqa: PLR2004
        raise SettingsError("SMTP_PORT should be a number from 1 to 65535")
    tls = settings.get("SMTP_TLS", "implicit" if text and int(text) == IMPLICIT_TLS_PORT else "starttls").lower()
    if tls not in PORTS:
        raise SettingsError(f"SMTP_TLS should be one of {', '.join(PORTS)}")
    port = int(text) if text else PORTS[tls]
    if (tls == "implicit") != (port == IMPLICIT_TLS_PORT):
        raise SettingsError(
            "Alertmanager speaks implicit TLS on port 465 and on no other; change SMTP_TLS or SMTP_PORT"
        )
    return tls, port


def _url(settings: Mapping[str, str], name: str) -> str | None:
    """A webhook's address. It is a secret, so no message shows it."""
    value = settings.get(name)
    if value is None:
        return None
    problem = SettingsError(f"{name} should be a URL that starts with https:// or http://, without blanks")
    if re.search(r"\s", value):
        raise problem
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        raise problem from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise problem
    return value


def _base(settings: Mapping[str, str], name: str) -> str:
    """An address that a path is added to."""
    value = _url(settings, name) or ""
    if re.search(r"[?#<>|\"]", value):
        raise SettingsError(f'{name} cannot have a query, a fragment or one of < > | "; a path is added to it')
    return value.rstrip("/")


def _links(runbooks: str, dashboards: str) -> str:
    """Templates have no settings, so the addresses go into a template of their own, as Go strings."""
    lines = ["{{/* Made by render.py from RUNBOOK_URL and GRAFANA_URL. Without an address no link is made. */}}"]
    for name, single in LINKS:
        lines += [
            f'{{{{ define "{name}" -}}}}',
            f'{{{{ template "{single}" (stringSlice {_go(runbooks)} .Annotations.runbook_url "Runbook") }}}}',
            f'{{{{- template "{single}" (stringSlice {_go(dashboards)} .Annotations.dashboard_url "Dashboard") }}}}',
            "{{- end }}",
        ]
    lines += [
        '{{ define "rounds.dashboard" -}}',
        f'{{{{ template "rounds.url" (stringSlice {_go(dashboards)} .Annotations.dashboard_url) }}}}',
        "{{- end }}",
    ]
    return "\n".join(lines) + "\n"


def _go(text: str) -> str:
    """A string literal of Go, which reads what JSON writes, but for surrogates."""
    return json.dumps(text, ensure_ascii=False)


def write(rendered: Rendered, output: Path, prepare: Callable[[int], None]) -> None:
    """Write all files, each atomically, and in an order in which Alertmanager never meets half a change.

    Args:
        rendered: what to write.
        output: the folder; made if missing.
        prepare: sets the owner and mode of an open file before it gets its name.

    Raises:
        OSError: a file could not be written.
    """
    templates = output / "templates"
    secrets = output / "secrets"
    for folder in (output, templates, secrets):
        folder.mkdir(parents=True, exist_ok=True)
    for source in sorted((HERE / "templates").glob("*.tmpl")):
        if source.name != "links.tmpl":
            _write(templates / source.name, source.read_text(encoding="utf-8"), prepare)
    _write(templates / "links.tmpl", rendered.links, prepare)
    for name, value in rendered.secrets.items():
        _write(secrets / name, value, prepare)
    _write(output / "alertmanager.yml", rendered.config, prepare)
    for name in (SLACK_SECRET, SMTP_SECRET):
        if name not in rendered.secrets:
            (secrets / name).unlink(missing_ok=True)


def _write(path: Path, text: str, prepare: Callable[[int], None]) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            prepare(file.fileno())
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _mode(text: str) -> int:
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise argparse.ArgumentTypeError("should be an octal mode such as 0600")
    mode = int(text, 8)
    if mode & 0o007 or mode & 0o111 or not mode & 0o400:
        raise argparse.ArgumentTypeError("should let the owner read, and others nothing, such as 0600 or 0640")
    return mode


def _owner(text: str) -> tuple[int, int]:
    if not re.fullmatch(r"[0-9]+(:[0-9]+)?", text):
        raise argparse.ArgumentTypeError("should be UID or UID:GID, as numbers")
    user, _, group = text.partition(":")
    return int(user), int(group) if group else -1


def main(arguments: list[str] | None = None, environment: Mapping[str, str] | None = None) -> int:
    """Run the command; returns its exit code."""
    description, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="render.py", description=description, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--output", metavar="DIR", type=Path, required=True, help="the folder to write; made if missing"
    )
    parser.add_argument(
        "--mode",
        metavar="MODE",
        type=_mode,
        default=0o600,
        help="the files' mode (default: 0600); all can hold secrets",
    )
    parser.add_argument(
        "--owner", metavar="UID[:GID]", type=_owner, help="the files' and folders' owner; needs the right to change it"
    )
    parser.add_argument(
        "--path", metavar="DIR", help="the output folder as Alertmanager sees it, if not the same; an absolute path"
    )
    options = parser.parse_args(arguments)
    # The secrets' paths must be absolute: Alertmanager resolves others against its working directory when it sends.
    seen: str = options.path or str(options.output.absolute())
    if not seen.startswith("/"):
        parser.error("argument --path: should be an absolute path")

    def prepare(target: int | Path) -> None:
        if options.owner:
            os.chown(target, *options.owner)
        if isinstance(target, int):
            os.fchmod(target, options.mode)

    try:
        settings = read_settings(os.environ if environment is None else environment)
        tree = yaml.safe_load((HERE / "alertmanager.yml").read_text(encoding="utf-8"))
        rendered = render(settings, tree, seen.rstrip("/") + "/secrets")
    except SettingsError as error:
        print(f"render.py: {error}", file=sys.stderr)
        return 2
    try:
        write(rendered, options.output, prepare)
        for folder in (options.output, options.output / "templates", options.output / "secrets"):
            prepare(folder)
    except OSError as error:
        print(f"render.py: cannot write {error.filename or options.output}: {error.strerror}", file=sys.stderr)
        return 1
    print(f"{options.output / 'alertmanager.yml'} is written.", *described(settings), sep="\n    ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
