"""The running exporter: whether it is there, of this version, with this configuration, and at work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import yaml

from rounds.config import Config
from rounds.doctor import clocks
from rounds.doctor.finding import Finding
from rounds.doctor.web import NoAnswer, Site
from rounds.version import program_version

_RELOAD = "kill -HUP of its process, or POST /-/reload where it runs with --web.enable-lifecycle"


def examine(site: Site, config: Config | None) -> Iterator[Finding]:
    """Examine it.

    Args:
        site: where it listens.
        config: what the files on this machine say; None where they are refused.
    """
    try:
        answer = site.get("/api/v1/status")
        status = _checked(answer.json)
    except NoAnswer as error:
        yield _absent(site, error)
        return
    yield Finding("ok", "exporter", site.url, f"answers, version {status['version']}")
    if status["version"] != program_version():
        found = f"it runs version {status['version']}, this program is version {program_version()}"
        yield Finding("warning", "exporter", site.url, found, ("restart the exporter, or update the older of both",))
    if answer.date is not None:
        yield clocks.compare(f"exporter {site.url}", answer.date + 0.5, answer.before, answer.after, exact=0.5)
    if not status["config"]["last_reload_successful"]:
        found = "its last reload was refused; the configuration before stays in use"
        yield Finding("error", "exporter", site.url, found, ("rounds check-config", f"then reload: {_RELOAD}"))
    lease = status.get("lease")
    stands_by = lease is not None and not lease["held"]
    if lease is not None and stands_by:
        yield from _standing_by(site, lease)
    if not status["ready"]:
        found = "some of its jobs have not ended a first run"
        yield Finding("hint", "exporter", site.url, found, (f"rounds status --url={site.url}",))
    if not stands_by:
        yield from _examine_jobs(site, status)
    if config is not None:
        yield from _examine_configuration(site, config)


def _checked(status: Any) -> dict[str, Any]:
    if not isinstance(status, dict) or not {"version", "config", "collectors"} <= status.keys():
        raise NoAnswer("answers, but is no exporter of Rounds", answered=True)
    return status


def _absent(site: Site, error: NoAnswer) -> Finding:
    if error.status == HTTPStatus.UNAUTHORIZED:
        remedy = f"rounds doctor --exporter={site.url} --user=NAME --password-file=FILE"
        return Finding("error", "exporter", site.url, "asks for a password", (remedy,))
    if error.answered:
        remedy = "name the exporter with --exporter=URL, or end what has its port"
        return Finding("error" if site.asked else "warning", "exporter", site.url, str(error), (remedy,))
    remedies = (
        "rounds run --config.file=rounds.yml",
        "or name it with --exporter=URL, with --ca-file where it speaks TLS",
    )
    return Finding("error" if site.asked else "hint", "exporter", site.url, str(error), remedies)


def _standing_by(site: Site, lease: dict[str, Any]) -> Iterator[Finding]:
    if lease["holder"]:
        yield Finding("ok", "exporter", site.url, f"stands by, as {lease['holder']} holds the ledger's lease")
    else:
        found = "stands by, and nobody holds the ledger's lease: no job runs anywhere"
        yield Finding(
            "error", "exporter", site.url, found, ("see why it cannot take it: its log, and rounds ledger check",)
        )


def _examine_jobs(site: Site, status: dict[str, Any]) -> Iterator[Finding]:
    jobs = [job for collector in status["collectors"] for job in collector["jobs"]]
    for job in jobs:
        late = (time.time() - (job["last_success"] or status["started"])) - (2 * job["interval"] + 60)
        if job["state"] == "failed":
            found, _, remedy = str(job["error"]).partition("; ")
            remedies = (*((remedy,) if remedy else ()), f"rounds once --collector={job['name']}")
            yield Finding("error", "exporter", job["name"], f"its last run failed ({job['reason']}): {found}", remedies)
        elif late > 0:
            remedy = f"rounds status --url={site.url}"
            yield Finding("warning", "exporter", job["name"], "it has not succeeded for long", (remedy,))
    if jobs and all(job["state"] == "ok" for job in jobs):
        yield Finding("ok", "exporter", site.url, f"the last run of each of its {len(jobs)} jobs succeeded")


def _examine_configuration(site: Site, config: Config) -> Iterator[Finding]:
    try:
        there = yaml.safe_load(site.get("/config").text)
    except (NoAnswer, yaml.YAMLError):
        return
    here = config.model_dump(mode="json", exclude_unset=True)
    differing = (
        sorted(key for key in {*here, *there} if here.get(key) != there.get(key)) if isinstance(there, dict) else []
    )
    if differing:
        found = f"the configuration in use is not that of these files: {', '.join(differing)} differ"
        other = () if site.asked else ("if that is another exporter, name yours: --exporter=URL",)
        remedies = (*other, f"reload: {_RELOAD}", f"see it: curl {site.url}/config")
        yield Finding("warning", "exporter", site.url, found, remedies)
    else:
        yield Finding("ok", "exporter", site.url, "the configuration in use is that of these files")
