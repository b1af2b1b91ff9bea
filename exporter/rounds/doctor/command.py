"""The command: which examinations its options ask for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from rounds.databases.databases import Databases
from rounds.doctor import (
    addresses,
    alertmanager,
    configuration,
    exporter,
    files,
    grafana,
    ledger,
    network,
    report,
    sources,
)
from rounds.doctor.configuration import Reading
from rounds.doctor.examining import Examination, examine
from rounds.doctor.finding import LEVELS, Finding, worst
from rounds.doctor.options import ALERTMANAGER, EXPORTER, PROMETHEUS
from rounds.doctor.prometheus import Prometheus
from rounds.doctor.web import Site
from rounds.domain import Domain
from rounds.errors import ConfigError
from rounds.needs import AddressNeed, FileNeed, Need, TableNeed
from rounds.webconfig import WebConfig

#: Seconds for servers to be told of statements that were given up.
_TELL_WITHIN = 2.0

NeedT = TypeVar("NeedT", bound=Need)


def run(options: argparse.Namespace, config_files: Sequence[Path], domains: Sequence[Domain]) -> int:
    """Examine everything and print what was found; the exit code."""
    for option in ("password_file", "ca_file", "grafana_token_file"):
        _readable(option, getattr(options, option))
    for option in ("exporter", "prometheus", "alertmanager", "grafana_url"):
        _usable(option, getattr(options, option))
    bundle = _bundle(options.bundle)
    reading = configuration.read(config_files, domains)
    databases = Databases()
    databases.configure(reading.config.sources if reading.config else {})
    findings = examine(list(_examinations(options, reading, databases, domains, bundle)))
    databases.close(_TELL_WITHIN)
    sys.stdout.write(report.FORMATS[options.format](findings))
    return int(LEVELS.index(worst(findings)) > LEVELS.index("hint"))


def _examinations(
    options: argparse.Namespace,
    reading: Reading,
    databases: Databases,
    domains: Sequence[Domain],
    bundle: Path | None,
) -> Iterator[Examination]:
    config, needs = reading.config, reading.needs
    yield Examination("configuration", "the configuration", partial(_configuration, reading, options.web_config_file))
    schemas = [domain.schema for domain in domains if domain.schema is not None and domain.name in reading.on]
    state = config.state if config and schemas else None
    yield Examination(
        "files",
        "files",
        lambda: files.examine(
            reading.files,
            options.web_config_file,
            _of(needs, FileNeed),
            state.path if state else None,
            state.salt_path if state else None,
        ),
    )
    if config is not None:
        tables = _of(needs, TableNeed)
        for name, source in config.sources.items():
            wanted = [need for need in tables if need.source == name]
            yield Examination("sources", f"source {name}", partial(sources.visit, name, source, databases, wanted))
        yield Examination("ledger", "the ledger", partial(ledger.examine, config.state, schemas))
        yield Examination("addresses", "addresses", partial(addresses.examine, _of(needs, AddressNeed)))
    site = Site(
        options.exporter or EXPORTER,
        asked=options.exporter is not None,
        user=options.user,
        password_file=options.password_file,
        ca_file=options.ca_file,
    )
    valid = config if not reading.problems else None
    yield Examination("exporter", "the exporter", partial(exporter.examine, site, valid))
    yield Examination("prometheus", "Prometheus", partial(_alerting, options, bundle))
    if bundle is not None and (bundle / "grafana").is_dir():
        yield Examination("grafana", "Grafana's files", partial(grafana.examine_files, bundle / "grafana"))
    if options.grafana_url:
        site = Site(options.grafana_url, token_file=options.grafana_token_file)
        folder = bundle and bundle / "grafana"
        yield Examination("grafana", "Grafana", partial(grafana.examine_site, site, folder))


def _configuration(reading: Reading, web: Path | None) -> Iterator[Finding]:
    yield from configuration.examine(reading)
    if web is not None and web.exists():
        try:
            WebConfig.load(web)
        except ConfigError as error:
            yield from configuration.refused(error.problems)
        else:
            yield Finding("ok", "configuration", str(web), "valid")


def _alerting(options: argparse.Namespace, bundle: Path | None) -> Iterator[Finding]:
    """Prometheus, and then the Alertmanagers that it names."""
    prometheus = Prometheus(Site(options.prometheus or PROMETHEUS, asked=options.prometheus is not None), bundle)
    yield from prometheus.examine()
    if options.alertmanager:
        yield from alertmanager.examine(Site(options.alertmanager), "error")
        return
    # What Prometheus calls by its name among containers may have none here.
    known = [url for url in prometheus.alertmanagers if network.resolves(urlsplit(url).hostname or "")]
    for url in known:
        yield from alertmanager.examine(Site(url), "error")
    if not known:
        yield from alertmanager.examine(Site(ALERTMANAGER), "hint")


def _of(needs: Sequence[Need], kind: type[NeedT]) -> list[NeedT]:
    return [need for need in needs if isinstance(need, kind)]


def _bundle(given: Path | None) -> Path | None:
    if given is not None:
        if not (given / "grafana").is_dir() and not (given / "prometheus").is_dir():
            raise ConfigError([f"--bundle: {given} has neither a folder grafana nor a folder prometheus"])
        return given
    here = (Path(), Path(__file__).parents[3])
    return next((each for each in here if (each / "grafana/provisioning").is_dir()), None)


def _usable(option: str, url: str | None) -> None:
    if url is None:
        return
    name = f"--{option.replace('_', '-')}"
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        raise ConfigError([f"{name}: is not a URL"]) from None
    if not whole:
        raise ConfigError([f"{name}: should start with http:// or https://, and name a host"])
    if "@" in parts.netloc:
        raise ConfigError([f"{name}: should hold no user or password"])


def _readable(option: str, file: Path | None) -> None:
    if file is None:
        return
    try:
        file.open("rb").close()
    except OSError as error:
        raise ConfigError([f"--{option.replace('_', '-')}: {file} cannot be read: {error.strerror}"]) from None
