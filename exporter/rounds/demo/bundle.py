"""Writes the demo's configuration files: the exporter's own, and the production bundle's on shorter times."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import rounds
from rounds.demo.catchers import COMPONENT_HEADER
from rounds.demo.clinic import make_clinics
from rounds.demo.desk import APP, MODEL, SLOW
from rounds.demo.desk_room import BACKUPS, CLINIC
from rounds.demo.pipeline import ZONE
from rounds.demo.ports import LOOPBACK
from rounds.demo.processes import ChildDiedError
from rounds.demo.scaling import Scale, redirect
from rounds.demo.synthetic import ENDPOINTS, Service
from rounds.demo.writer import WAREHOUSE
from rounds.fields import parse_duration

#: The thresholds are production's. The interval is shorter, and as short as slowness of 6 s allows, since a probe's
#: timeout must fit into it and be longer than ``down_after``.
CHECK_TIMES = {"interval": "8s", "timeout": "8s", "degraded_after": "1s", "down_after": "5s"}

#: So that a check finds what one line of the script did.
TABLE_TIMES = {"interval": "5s", "timeout": "20s"}

#: So that each of the pipeline's limits is passed once in its script, and every day is like the other.
PIPELINE: Mapping[str, Any] = {
    "interval": "5s",
    "timeout": "20s",
    "time_zone": ZONE,
    "run_every": "25s",
    "slow_run_after": "5s",
    # Names of nobody: the demo shows what production only does when it is asked to.
    "labels": {"cedente": 5, "gerente": 5, "produto": 5},
    "open_for": "1m",
    "stuck_after": "90s",
    "unconfirmed_after": "1m",
    "working_days": ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"],
}

#: Likewise for the clinics' syncs.
SYNCS: Mapping[str, Any] = {
    "name": "cliniko",
    "interval": "5s",
    "active_interval": "1s",
    "expect_every": "50s",
    "stale_after": "50s",
    "orphaned_after": "2m",
    "limits": {"slow_after": "1m", "stuck_after": "20s"},
    "organizations": {"names": {clinic.organization: clinic.name for clinic in make_clinics().values()}},
}


#: Limits of what is watched that the script passes. As its times are divided by its speed, so are they.
LIMITS = frozenset(
    (
        *("run_every", "slow_run_after", "open_for", "stuck_after", "unconfirmed_after"),
        *("expect_every", "stale_after", "orphaned_after", "slow_after", "max_age"),
    )
)


def paced(tree: Mapping[str, Any], speed: float) -> dict[str, Any]:
    """A domain's configuration for a script that is played so many times faster than written."""

    def value(key: str, given: Any) -> Any:
        if isinstance(given, Mapping):
            return paced(given, speed)
        return f"{parse_duration(given) / speed:g}s" if key in LIMITS else given

    return {key: value(key, given) for key, given in tree.items()}


def watched_app(folder: Path, models: str) -> dict[str, Any]:
    """The desktop program, but for its source: limits so short that the script passes each of its checks' once.

    How much of the computer is left is no part of the script, so that hardly anything is degraded.

    Args:
        folder: where its database and backups are.
        models: ``host:port`` of its server of language models.
    """
    soon = {"interval": "5s", "timeout": "3s"}
    return {
        "name": APP,
        "interval": "3s",
        "operations": {"slow": {name: f"{seconds:g}s" for name, seconds in SLOW.items()}},
        "checks": {
            "database": {"path": str(folder / CLINIC), "integrity_every": "1m", **soon},
            "llm": {
                "url": f"http://{models}",
                "model": MODEL,
                "generate_every": "20s",
                "generate_timeout": "5s",
                **soon,
            },
            "disk": {
                "path": str(folder),
                "unhealthy_free_bytes": 50_000_000,
                "degraded_free_bytes": 200_000_000,
                "degraded_used_ratio": 0.99,
                **soon,
            },
            "memory": {
                "unhealthy_available_bytes": 50_000_000,
                "degraded_available_bytes": 200_000_000,
                "degraded_used_ratio": 0.98,
                **soon,
            },
            "backup": {"folder": str(folder / BACKUPS), "time_zone": "UTC", "max_age": "45s", **soon},
        },
    }


#: In a template: the domain of all alerts in a message; empty where they are of several.
_COMPONENT = "{{ .CommonLabels.component }}"


@dataclass(frozen=True)
class Databases:
    """Where the synthetic data is.

    Attributes:
        clinic: the SQLite file with the tables.
        warehouse: the source that has the patients instead; empty where there is none.
        apr: the source with the pipeline's tables.
        syncs: the source with the log of syncs.
        emr: the desktop program's store, with its other files beside it.
        models: ``host:port`` of the program's server of language models.
    """

    clinic: Path
    warehouse: Mapping[str, Any]
    apr: Mapping[str, Any]
    syncs: Mapping[str, Any]
    emr: Path
    models: str


def sqlite(file: Path) -> dict[str, Any]:
    """A SQLite file as a source."""
    return {"kind": "sqlite", "path": str(file)}


def find_bundle() -> Path | None:
    """The folder that holds ``prometheus/`` and ``alertmanager/``; None where the package came without them."""
    root = Path(rounds.__file__).resolve().parents[2]
    complete = all((root / name / f"{name}.yml").is_file() for name in ("prometheus", "alertmanager"))
    return root if complete else None


def write_exporter(folder: Path, services: Mapping[str, Service], databases: Databases, *, speed: float = 1.0) -> Path:
    """Write the exporter's configuration: the nine checks, two tables, the pipeline, the syncs and the app.

    Args:
        folder: where to write; the exporter keeps its state there too.
        services: by name.
        databases: what else it reads.
        speed: how many times faster than written the script is played.
    """
    checks: list[dict[str, Any]] = []
    for endpoint in ENDPOINTS:
        service = services[endpoint.service]
        scheme = "https" if service.certificate else "http"
        url = f"{scheme}://{LOOPBACK}:{service.port}{endpoint.path}"
        checks.append({"name": endpoint.check, "url": url, "tier": endpoint.tier})
        if service.certificate:
            checks[-1]["tls"] = {"ca_file": str(service.certificate.file)}
    sources: dict[str, Any] = {"clinic": sqlite(databases.clinic), "apr": dict(databases.apr)}
    sources |= {"syncs": dict(databases.syncs), APP: sqlite(databases.emr)}
    # The journal shows the keys of the one, and pseudonyms of the other.
    patients = {"name": "patients", "source": "clinic", "table": "patients", "keys": "raw"}
    appointments = {"name": "appointments", "source": "clinic", "table": "appointments"}
    if databases.warehouse:
        place = WAREHOUSE["patients"]
        # The stand-in describes no tables of other databases than the session's.
        sources["warehouse"] = {**databases.warehouse, "database": place.partition(".")[0]}
        patients |= {"source": "warehouse", "table": place}
    tree = {
        "state": {"url": f"sqlite:///{folder / 'state.db'}"},
        "sources": sources,
        "tables": [{**patients, **TABLE_TIMES}, {**appointments, **TABLE_TIMES}],
        "apr": {"source": "apr", **paced(PIPELINE, speed)},
        "syncs": [{"source": "syncs", **paced(SYNCS, speed)}],
        "emr": [{"source": APP, **paced(watched_app(databases.emr.parent, databases.models), speed)}],
        "services": {"defaults": CHECK_TIMES, "checks": checks},
    }
    return _write(folder / "rounds.yml", tree)


def write_prometheus(bundle: Path, folder: Path, scale: Scale, addresses: Mapping[str, str] | None = None) -> Path:
    """Write Prometheus' configuration and rule files.

    Args:
        bundle: the folder of the production bundle.
        folder: where to write.
        scale: for the times.
        addresses: as for :func:`~rounds.demo.scaling.redirect`; None where all targets are as in production.
    """
    production = bundle / "prometheus"
    rules = [
        str(_write(folder / f"rules-{file.name}", scale.apply(_read(file))))
        for file in sorted((production / "rules").glob("*.yml"))
    ]
    tree = scale.apply(_read(production / "prometheus.yml"))
    tree = {**tree, "rule_files": rules} if addresses is None else redirect(tree, addresses, rules)
    return _write(folder / "prometheus.yml", tree)


def write_alertmanager(
    bundle: Path, folder: Path, scale: Scale, slack: str, mail: str | None, *, grafana: str | None = None
) -> Path:
    """Write Alertmanager's configuration, rendered as in production from environment variables.

    Messages say besides of which domain they are, so that the catchers can tell it.

    Args:
        bundle: the folder of the production bundle.
        folder: where to write.
        scale: for the times.
        slack: the URL that takes Slack messages.
        mail: ``host:port`` of the mail server; None for no e-mail.
        grafana: where dashboards are, for links in messages; None for no links.

    Raises:
        ChildDiedError: the bundle's own script refuses to render it.
    """
    settings = {
        "SLACK_WEBHOOK_URL": slack,
        # Not the rest of the environment: it may hold the settings of a real channel.
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
    }
    if grafana:
        settings["GRAFANA_URL"] = grafana
    if mail:
        host, _, port = mail.rpartition(":")
        settings |= {"SMTP_HOST": host, "SMTP_PORT": port, "SMTP_TLS": "none"}
        settings |= {"SMTP_FROM": "Rounds demo <rounds@example.org>", "SMTP_TO": "operations@example.org"}
    output = folder / "alertmanager"
    command = [sys.executable, str(bundle / "alertmanager" / "render.py"), f"--output={output}"]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)  # noqa: S603 - our own
    if done.returncode:
        raise ChildDiedError(f"Alertmanager's configuration cannot be rendered: {done.stderr.strip()}")
    config = output / "alertmanager.yml"
    tree = scale.apply(_read(config))
    for receiver in tree["receivers"]:
        for message in receiver.get("slack_configs", ()):
            message["footer"] = _COMPONENT
        for message in receiver.get("email_configs", ()):
            message["headers"] = {**message["headers"], COMPONENT_HEADER: _COMPONENT}
    return _write(config, tree)


def _read(file: Path) -> Any:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def _write(file: Path, tree: Any) -> Path:
    file.write_text(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return file
