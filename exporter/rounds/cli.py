"""The command line."""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

from rounds import report
from rounds.commands import Command
from rounds.config import config_model, load_config
from rounds.databases.databases import Databases
from rounds.doctor import options as doctor_options
from rounds.domains import all_domains
from rounds.errors import CollectorError, ConfigError
from rounds.exporter import Exporter, catalogues, schemas
from rounds.ledger.commands import ledger_commands
from rounds.ledger.keeper import Keeper
from rounds.logs import configure_logs
from rounds.resources import Resources
from rounds.version import program_revision, program_version

DEFAULT_ADDRESS = "127.0.0.1:12780"
DEFAULT_FILE = Path("rounds.yml")

OK, FAILED, REFUSED = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns 0 when it is done, 1 when it failed, 2 for wrong use or configuration."""
    options = _parser().parse_args(arguments)
    configure_logs(options.log_level, options.log_format)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return REFUSED
    except CollectorError as error:
        print(f"rounds: {error}", file=sys.stderr)
        return FAILED
    except OSError as error:
        print(f"rounds: {error.strerror or error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return 130


def _files(options: argparse.Namespace) -> list[Path]:
    return options.config_file or [DEFAULT_FILE]


def _run(options: argparse.Namespace) -> int:
    from rounds import server  # noqa: PLC0415  # the other commands start faster without it

    exporter = Exporter(_files(options), all_domains())
    addresses = options.web_listen_address or [DEFAULT_ADDRESS]
    server.run(exporter, addresses, options.web_config_file, lifecycle=options.web_enable_lifecycle)
    return OK


def _once(options: argparse.Namespace) -> int:
    exporter = Exporter(_files(options), all_domains())
    asked: list[str] = options.collector
    chosen: set[str] = set()

    async def collect() -> bool:
        def only(job: Any) -> bool:
            names = {job.name, job.collector}
            chosen.update(names)
            return not asked or bool(names & set(asked))

        return await exporter.run_once(only)

    succeeded = asyncio.run(collect())
    unknown = sorted(set(asked) - chosen)
    if unknown:
        known = ", ".join(sorted(chosen))
        raise ConfigError([f"--collector: unknown collector {', '.join(unknown)}; known: {known}"])
    sys.stdout.buffer.write(exporter.render(openmetrics=False, gzip=False))
    return OK if succeeded else FAILED


def _check_config(options: argparse.Namespace) -> int:
    domains = all_domains()
    config = load_config(_files(options), {domain.name: domain.section for domain in domains})
    present = [domain.name for domain in domains if getattr(config, domain.name) is not None]
    off = [domain.name for domain in domains if domain.name not in present]
    files = ", ".join(map(str, _files(options)))
    print(
        f"{files}: valid; domains: {', '.join(present) or 'none'}; off: {', '.join(off) or 'none'}; "
        f"sources: {', '.join(config.sources) or 'none'}"
    )
    if options.web_config_file:
        from rounds.webconfig import WebConfig  # noqa: PLC0415

        WebConfig.load(options.web_config_file)
        print(f"{options.web_config_file}: valid")
    return OK


def _config_schema(options: argparse.Namespace) -> int:
    from rounds import reference  # noqa: PLC0415  # the other commands start faster without it

    model = config_model({domain.name: domain.section for domain in all_domains()})
    if options.format == "markdown":
        print(reference.markdown(model), end="")
    else:
        print(json.dumps(reference.json_schema(model), indent=2))
    return OK


def _metrics(options: argparse.Namespace) -> int:
    print(report.CATALOGUE_FORMATS[options.format](catalogues(all_domains())), end="")
    return OK


def _status(options: argparse.Namespace) -> int:
    auth = None
    if options.user:
        password = options.password_file.read_text(encoding="utf-8").rstrip("\r\n") if options.password_file else ""
        auth = httpx.BasicAuth(options.user, password)
    try:
        answer = httpx.get(
            f"{options.url.rstrip('/')}/api/v1/status",
            timeout=10,
            auth=auth,
            verify=str(options.ca_file) if options.ca_file else True,
        )
        answer.raise_for_status()
        status = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        print(f"rounds: {options.url} gives no status: {error}; --url names another exporter", file=sys.stderr)
        return FAILED
    print(report.status_table(status), end="")
    healthy = status["config"]["last_reload_successful"] and all(
        collector["state"] != "failed" for collector in status["collectors"]
    )
    return OK if healthy else FAILED


def _completion(options: argparse.Namespace) -> int:
    from rounds import completion  # noqa: PLC0415

    print(completion.script(_parser(), options.shell), end="")
    return OK


def _demo(options: argparse.Namespace) -> int:
    from rounds.demo import main as demo  # noqa: PLC0415

    return demo.run(listen=options.web_listen_address, speed=options.speed)


def _doctor(options: argparse.Namespace) -> int:
    from rounds.doctor import command as doctor  # noqa: PLC0415  # the other commands start faster without it

    return doctor.run(options, _files(options), all_domains())


def _further_commands() -> list[tuple[str, Command]]:
    """Commands that parts bring along, each with the section of the configuration that it is for."""
    domains = all_domains()
    return [
        *(("state", command) for command in ledger_commands(schemas(domains))),
        *((domain.name, command) for domain in domains for command in domain.commands),
    ]


def _run_further(section: str, command: Command, options: argparse.Namespace) -> int:
    domains = all_domains()
    config = load_config(_files(options), {domain.name: domain.section for domain in domains})
    databases, keeper = Databases(), Keeper(schemas(domains))
    databases.configure(config.sources)
    keeper.configure(config.state)
    try:
        return command.run(options, getattr(config, section), Resources(databases, keeper.ledger))
    finally:
        keeper.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rounds",
        description="Prometheus exporter that makes the rounds of what operations people must not lose sight of.",
        epilog="Exit codes: 0 done, 1 failed, 2 wrong use or configuration.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--version", action="version", version=f"rounds {program_version()} (revision {program_revision()})"
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(
        name: str, function: Callable[[argparse.Namespace], int], text: str, among: Any = commands
    ) -> argparse.ArgumentParser:
        sub: argparse.ArgumentParser = among.add_parser(
            name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False
        )
        sub.set_defaults(command=function)
        sub.add_argument("--log.level", dest="log_level", choices=("debug", "info", "warn", "error"), default="info")
        sub.add_argument("--log.format", dest="log_format", choices=("logfmt", "json"), default="logfmt")
        return sub

    run = command("run", _run, "collect on schedule and serve /metrics until told to stop")
    _takes_config(run)
    _takes_web(run)
    once = command("once", _once, "collect once, print the exposition; exit 1 if a collector failed")
    _takes_config(once)
    once.add_argument(
        "--collector", action="append", default=[], metavar="NAME", help="only this collector or job; repeatable"
    )
    check = command("check-config", _check_config, "check the configuration; exit 2 if it is refused")
    _takes_config(check)
    _takes_web_file(check)
    schema = command("config-schema", _config_schema, "print what the configuration may hold: a JSON Schema, or a page")
    schema.add_argument("--format", choices=("json", "markdown"), default="json")
    metrics = command("metrics", _metrics, "print the catalogue of metrics")
    metrics.add_argument("--format", choices=sorted(report.CATALOGUE_FORMATS), default="markdown")
    status = command("status", _status, "ask a running exporter how its collectors fare; exit 1 if one failed")
    status.add_argument("--url", default=f"http://{DEFAULT_ADDRESS}", help="its address (default: %(default)s)")
    status.add_argument("--user", help="user of its basic authentication")
    status.add_argument("--password-file", type=Path, metavar="FILE", help="file with that user's password")
    status.add_argument("--ca-file", type=Path, metavar="FILE", help="certificate authority of its TLS certificate")
    examined = command(
        "doctor", _doctor, "examine the whole installation and say how to mend it; exit 1 if it found something"
    )
    _takes_config(examined)
    _takes_web_file(examined)
    doctor_options.arguments(examined)
    demo = command("demo", _demo, "show all five domains on synthetic data that changes on a script")
    demo.epilog = (
        "Starts, on 127.0.0.1 and with all files in a temporary folder (TMPDIR): services that fail and recover, a"
        " stand-in for Snowflake, MariaDB, PostgreSQL, the programs that write there, the exporter, Prometheus,"
        " Alertmanager, and catchers of Slack messages and e-mails. It says what is not installed and does without,"
        " with SQLite instead of a server. A port that is taken is replaced. Within five minutes each domain shows all"
        " of its states, and alerts of each come and go. Ctrl-C ends all of it."
    )
    demo.add_argument(
        "--web.listen-address",
        dest="web_listen_address",
        default=DEFAULT_ADDRESS,
        metavar="ADDRESS",
        help="where the exporter listens (default: %(default)s)",
    )
    demo.add_argument(
        "--speed",
        type=float,
        default=1.0,
        help="how many times faster its script is played, from 0.1 to 2; limits and alerts follow (default: 1)",
    )
    shells = command("completion", _completion, "print a script that completes commands and options in a shell")
    shells.add_argument("shell", choices=("bash", "zsh"), help="the shell")
    groups: dict[str, Any] = {}
    brought = _further_commands()
    for section, further in brought:
        among: Any = commands
        if len(further.words) > 1:
            group = further.words[0]
            if group not in groups:
                names = ", ".join(
                    each.words[-1] for _, each in brought if len(each.words) > 1 and each.words[0] == group
                )
                parent = commands.add_parser(group, help=names, allow_abbrev=False)
                groups[group] = parent.add_subparsers(title="commands", required=True, metavar="COMMAND")
            among = groups[group]
        sub = command(further.words[-1], functools.partial(_run_further, section, further), further.text, among)
        _takes_config(sub)
        further.arguments(sub)
    return parser


def _takes_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config.file",
        dest="config_file",
        type=Path,
        action="append",
        metavar="FILE",
        help="configuration; repeatable, then mappings merge and lists append (default: rounds.yml)",
    )


def _takes_web_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--web.config.file",
        dest="web_config_file",
        type=Path,
        metavar="FILE",
        help="TLS and basic authentication, in the format of the Prometheus exporter-toolkit",
    )


def _takes_web(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--web.listen-address",
        dest="web_listen_address",
        action="append",
        metavar="ADDRESS",
        help=f"where to listen; repeatable; :12780 is every address (default: {DEFAULT_ADDRESS})",
    )
    _takes_web_file(parser)
    parser.add_argument(
        "--web.enable-lifecycle", dest="web_enable_lifecycle", action="store_true", help="open POST /-/reload"
    )
