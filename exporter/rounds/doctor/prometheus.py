"""Prometheus: whether it sees the exporter, has the bundle's rules, keeps enough, and knows whom to tell."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rounds.doctor import clocks
from rounds.doctor.finding import Finding, Level
from rounds.doctor.web import NoAnswer, Site
from rounds.version import program_version

#: The job's name, by which rules and dashboards know the exporter.
_JOB = "rounds"
#: Seconds: rules look 30 days back, and windows of rates hold at least two scrapes.
_KEEPS = 31 * 86_400
_SCRAPES = 60
_OLDEST = (2, 42)
_UNITS = {"y": 31_536_000.0, "w": 604_800.0, "d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART = re.compile(r"(\d+)(ms|[ywdhms])")

_SCRAPE = (
    "in prometheus.yml, below scrape_configs:",
    "- {job_name: rounds, static_configs: [{targets: ['127.0.0.1:12780']}]}",
)


@dataclass
class Prometheus:
    """Examines one Prometheus.

    Attributes:
        site: where it listens.
        bundle: the folder of this installation's files, with ``prometheus/rules``; None where there is none.
        alertmanagers: the addresses that it sends alerts to, once it was examined.
    """

    site: Site
    bundle: Path | None
    alertmanagers: list[str] = field(default_factory=list)

    def examine(self) -> Iterator[Finding]:
        """All of it."""
        site = self.site
        try:
            version = str(site.json("/api/v1/status/buildinfo")["data"]["version"])
        except (NoAnswer, KeyError, TypeError) as error:
            answered = not isinstance(error, NoAnswer) or error.answered
            told = str(error) if isinstance(error, NoAnswer) else "answers, but is no Prometheus"
            remedy = "name it with --prometheus=URL" + ("" if answered else ", or start it: docs/alerting.md")
            level: Level = "error" if site.asked else "warning" if answered else "hint"
            yield Finding(level, "prometheus", site.url, told, (remedy,))
            return
        yield Finding("ok", "prometheus", site.url, f"answers, version {version}")
        numbers = re.match(r"(\d+)\.(\d+)", version)
        if numbers and (int(numbers[1]), int(numbers[2])) < _OLDEST:
            remedy = f"update it to {'.'.join(map(str, _OLDEST))} or newer"
            yield Finding(
                "warning", "prometheus", site.url, f"version {version} does not know keep_firing_for", (remedy,)
            )
        for part in (self._clock, self._targets, self._build, self._rules, self._retention, self._alerting):
            try:
                yield from part()
            except NoAnswer as error:
                yield Finding("warning", "prometheus", site.url, str(error), ("see its log",))

    def _clock(self) -> Iterator[Finding]:
        before = time.time()
        (_, there) = self.site.json("/api/v1/query", {"query": "time()"})["data"]["result"]
        yield clocks.compare(f"Prometheus {self.site.url}", float(there), before, time.time())

    def _targets(self) -> Iterator[Finding]:
        targets = self.site.json("/api/v1/targets", {"state": "active"})["data"]["activeTargets"]
        ours = [target for target in targets if target["labels"].get("job") == _JOB]
        if not ours:
            found = f"it has no target of the job {_JOB}, so it does not scrape the exporter"
            yield Finding("error", "prometheus", self.site.url, found, _SCRAPE)
        for target in ours:
            subject = f"target {target['labels'].get('instance', '?')}"
            if target["health"] == "down":
                remedies = (
                    f"from Prometheus' machine: curl {target['scrapeUrl']}",
                    "correct targets in prometheus.yml; the exporter listens where --web.listen-address says",
                )
                found = f"the exporter cannot be scraped: {target['lastError']}"
                yield Finding("error", "prometheus", subject, found, remedies)
            elif target["health"] == "up":
                yield Finding("ok", "prometheus", subject, "is up")
            else:
                yield Finding("hint", "prometheus", subject, "was not scraped yet", ("wait for its scrape_interval",))
            interval = str(target.get("scrapeInterval", ""))
            if seconds(interval) > _SCRAPES:
                found = f"it is scraped every {interval}: rates over a few minutes are empty, and alerts late"
                remedy = "in prometheus.yml, at the job rounds: scrape_interval: 15s"
                yield Finding("warning", "prometheus", subject, found, (remedy,))

    def _build(self) -> Iterator[Finding]:
        found = self._query("rounds_build_info")
        if not found:
            remedy = "look at the target on its page /targets"
            yield Finding("error", "prometheus", "rounds_build_info", "it has no metric of the exporter", (remedy,))
        for labels, _ in found:
            version, instance = labels.get("version", ""), labels.get("instance", "")
            if version == program_version():
                yield Finding("ok", "prometheus", "rounds_build_info", f"{instance} runs version {version}")
            else:
                told = f"{instance} runs version {version}, this program is version {program_version()}"
                remedy = "restart that exporter, or update the older of both"
                yield Finding("warning", "prometheus", "rounds_build_info", told, (remedy,))

    def _rules(self) -> Iterator[Finding]:
        groups = self.site.json("/api/v1/rules")["data"]["groups"]
        loaded = {rule["name"] for group in groups for rule in group["rules"]}
        for group in groups:
            for rule in group["rules"]:
                if rule["health"] == "err":
                    remedies = (
                        f"promtool check rules {group['file']}",
                        "take the rules of this version: prometheus/rules",
                    )
                    found = f"the rule fails: {rule.get('lastError', '')}"
                    yield Finding("error", "prometheus", rule["name"], found, remedies)
        expected = _expected(self.bundle)
        missing = {name: sorted(those - loaded) for name, those in expected.items() if those - loaded}
        for name, those in missing.items():
            found = f"of the rules of {name} {len(those)} are not loaded: {', '.join(those[:3])}" + (
                "..." if those[3:] else ""
            )
            remedies = (
                f"in prometheus.yml: rule_files: [rules/*.yml], with {name} of this version beside it",
                "then reload Prometheus: kill -HUP of its process",
            )
            yield Finding("error", "prometheus", name, found, remedies)
        if not expected and not loaded:
            remedy = "in prometheus.yml: rule_files: [rules/*.yml], with the files of prometheus/rules beside it"
            yield Finding("warning", "prometheus", "rules", "it has no rules, so nothing is ever told", (remedy,))
        elif not missing:
            yield Finding("ok", "prometheus", "rules", f"{len(loaded)} rules are loaded")

    def _retention(self) -> Iterator[Finding]:
        told = str(self.site.json("/api/v1/status/runtimeinfo")["data"].get("storageRetention", ""))
        longest = max((seconds(part) for part in told.split(" or ")), default=0.0)
        if 0 < longest < _KEEPS:
            found = f"it keeps {told}, but rules look 30 days back"
            yield Finding(
                "warning", "prometheus", "retention", found, ("start it with --storage.tsdb.retention.time=31d",)
            )
        elif longest:
            yield Finding("ok", "prometheus", "retention", f"it keeps {told}")

    def _alerting(self) -> Iterator[Finding]:
        active = self.site.json("/api/v1/alertmanagers")["data"]["activeAlertmanagers"]
        self.alertmanagers += [str(each["url"]).partition("/api/")[0] for each in active]
        if not active:
            remedies = (
                "in prometheus.yml:",
                "alerting: {alertmanagers: [{static_configs: [{targets: ['127.0.0.1:9093']}]}]}",
            )
            found = "it knows no Alertmanager, so no alert reaches anybody"
            yield Finding("error", "prometheus", "alerting", found, remedies)
            return
        for labels, value in self._query("increase(prometheus_notifications_errors_total[5m]) > 0"):
            to = str(labels.get("alertmanager", "")).partition("/api/")[0]
            found = f"{float(value):.0f} alerts in 5 minutes could not be sent to {to}"
            yield Finding(
                "error", "prometheus", "alerting", found, ("check that Alertmanager runs there: see alerting",)
            )
        yield Finding("ok", "prometheus", "alerting", f"it sends alerts to {', '.join(self.alertmanagers)}")

    def _query(self, query: str) -> list[tuple[Mapping[str, str], str]]:
        result: list[Any] = self.site.json("/api/v1/query", {"query": query})["data"]["result"]
        return [(each["metric"], str(each["value"][1])) for each in result]


def seconds(text: str) -> float:
    """The seconds of a duration as Prometheus writes it; 0 where it is none."""
    parts = _PART.findall(text)
    return sum(int(number) * _UNITS[unit] for number, unit in parts) if "".join(map("".join, parts)) == text else 0.0


def _expected(bundle: Path | None) -> dict[str, set[str]]:
    """The names of the rules in each of the bundle's files."""
    if bundle is None:
        return {}
    found = {}
    for file in sorted((bundle / "prometheus/rules").glob("*.yml")):
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
        rules = [rule for group in tree["groups"] for rule in group["rules"]]
        found[file.name] = {str(rule.get("alert") or rule.get("record")) for rule in rules}
    return found
