"""Alertmanager accepts what is rendered, sends alerts where they belong, and its messages read as they should.

After a wanted change of the templates, ``GOLDEN=write pytest tests/bundle`` writes the expected messages anew.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bundle.rules import ROOT, alerts
from rounds.emr.names import SEVERITIES
from support.binaries import require_binary

FOLDER = ROOT / "alertmanager"
MESSAGES = FOLDER / "tests" / "messages"
CASES = sorted(path.stem for path in MESSAGES.glob("*.json"))
#: What is drawn of each message: the ending of the expected file, and the template.
PARTS = {
    "slack.txt": '{{ template "rounds.slack.color" . }}\n{{ template "rounds.slack.title" . }}\n'
    '{{ template "rounds.slack.link" . }}\n\n{{ template "rounds.slack.text" . }}',
    "mail.txt": '{{ template "rounds.email.subject" . }}\n\n{{ template "rounds.email.text" . }}',
    "mail.html": '{{ template "rounds.email.html" . }}',
}
CHANNELS = {
    "SLACK_WEBHOOK_URL": {"SLACK_WEBHOOK_URL": "https://hooks.example.org/x", "SLACK_CHANNEL": "#ops"},
    "SMTP_HOST": {
        "SMTP_HOST": "mail.example.org",
        "SMTP_FROM": "rounds@example.org",
        "SMTP_TO": "ops@example.org",
        "SMTP_USER": "rounds",
        "SMTP_PASSWORD": "p$a#s's\"w\\o r{d} ü",
    },
    "ALERT_WEBHOOK_URL": {"ALERT_WEBHOOK_URL": "https://hooks.example.org/$a'b\"{c}"},
    "DEADMAN_WEBHOOK_URL": {"DEADMAN_WEBHOOK_URL": "https://deadman.example.org/x"},
}
LINKS = {"GRAFANA_URL": "https://grafana.example.org", "RUNBOOK_URL": "https://git.example.org/rounds/blob/main/"}


def render(folder: Path, *channels: str) -> Path:
    environment = LINKS | {key: value for channel in channels for key, value in CHANNELS[channel].items()}
    command = [sys.executable, str(FOLDER / "render.py"), f"--output={folder}"]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return folder / "alertmanager.yml"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(tmp_path_factory.mktemp("alertmanager"), *CHANNELS)


@pytest.fixture(scope="module")
def amtool() -> Path:
    return require_binary("amtool")


@pytest.fixture(scope="module")
def amlint() -> Path:
    beside = Path(sys.executable).with_name("amlint")
    return beside if beside.exists() else require_binary("amlint")


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("channels", [tuple(CHANNELS), (), *((name,) for name in CHANNELS)], ids="+".join)
def test_the_rendered_file_is_valid(amtool: Path, amlint: Path, channels: tuple[str, ...], tmp_path: Path) -> None:
    path = render(tmp_path, *channels)
    done = run(amtool, "check-config", path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 templates" in done.stdout
    # A channel that is off leaves receivers without one, and addresses of webhooks cannot stand in files before 0.26.
    ignored = ["--ignore=empty-receiver,plaintext-secret"] if channels != tuple(CHANNELS) else []
    linted = run(amlint, "check", *ignored, path)
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_the_committed_file_is_valid(amtool: Path, amlint: Path) -> None:
    path = FOLDER / "alertmanager.yml"
    done = run(amtool, "check-config", path)
    assert done.returncode == 0, done.stdout + done.stderr
    linted = run(amlint, "check", "--strict", "--rules", str(ROOT / "prometheus" / "rules" / "*.yml"), path)
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_an_undefined_template_would_be_found(amlint: Path, tmp_path: Path) -> None:
    """Alertmanager then sends nothing to Slack and empty mail, and amtool does not notice."""
    shutil.copytree(FOLDER / "templates", tmp_path / "templates")
    text = (FOLDER / "alertmanager.yml").read_text(encoding="utf-8")
    (tmp_path / "alertmanager.yml").write_text(
        text.replace("rounds.slack.title", "rounds.slack.titel"), encoding="utf-8"
    )
    assert run(amlint, "check", tmp_path / "alertmanager.yml").returncode != 0


def test_routes_and_inhibition(amlint: Path, config: Path) -> None:
    done = run(amlint, "test", "--fail-under", "100", config, FOLDER / "tests" / "routing.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def routing_cases() -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = yaml.safe_load((FOLDER / "tests" / "routing.yml").read_text(encoding="utf-8"))
    return [case for case in cases if "firing" not in case]


@pytest.mark.parametrize("case", routing_cases(), ids=lambda case: str(case["name"]))
def test_amtool_routes_alike(amtool: Path, config: Path, case: dict[str, Any]) -> None:
    labels = [f"{name}={value}" for name, value in case["labels"].items()]
    verify = f"--verify.receivers={case['receiver']}"
    done = run(amtool, "config", "routes", "test", f"--config.file={config}", verify, *labels)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: str(rule.name))
def test_every_alert_goes_by_its_severity(amtool: Path, config: Path, rule: Any) -> None:
    own = rule.body["labels"]
    # What an application says itself has the severity that it says.
    for severity in [own["severity"]] if "severity" in own else SEVERITIES:
        labels = [f"{name}={value}" for name, value in {"alertname": rule.name, "severity": severity, **own}.items()]
        receiver = "event" if "kind" in own else severity
        receiver = "deadman" if rule.name == "Watchdog" else receiver
        verify = f"--verify.receivers={receiver}"
        done = run(amtool, "config", "routes", "test", f"--config.file={config}", verify, *labels)
        assert done.returncode == 0, done.stdout + done.stderr


def test_cooldowns_and_groups() -> None:
    tree = yaml.safe_load((FOLDER / "alertmanager.yml").read_text(encoding="utf-8"))
    found: dict[str, str] = {}
    groups = {
        "Watchdog": ["alertname"],
        **{name: ["..."] for name in ("TableRowsDeleted", "EmrCrashed", "EmrUncleanShutdown")},
        "SyncMassDeletion": ["alertname", "sync"],
        **{name: ["alertname", "app", "severity"] for name in ("EmrAppAlert", "EmrNewErrorGroup")},
    }
    others = ["alertname", "check", "table", "changed_at", "sync", "app"]

    def walk(route: dict[str, Any], inherited: dict[str, Any]) -> None:
        merged = {**inherited, **{key: value for key, value in route.items() if key != "routes"}}
        for matcher in route.get("matchers", ()):
            if matcher.startswith("alertname"):
                for name in matcher.partition('"')[2].rstrip('"').split("|"):
                    found[name] = merged["repeat_interval"]
                    assert merged["group_by"] == groups.get(name, others)
        for child in route.get("routes", ()):
            walk(child, merged)

    walk(tree["route"], {})
    assert found == {
        "ServiceDown": "5m",
        "ServiceDegraded": "10m",
        "FrontendDown": "10m",
        "ServiceSlow": "15m",
        "AprInvalidOpenTooLong": "24h",
        "AprProposalsStuck": "24h",
        "AprFlapping": "24h",
        "AprSchemaProblem": "24h",
        "TableMassDeletion": "4h",
        "TableShrinking": "4h",
        "LedgerQuarantined": "24h",
        "TableRowsDeleted": "24h",
        "SyncSchemaProblem": "24h",
        "SyncMassDeletion": "24h",
        **dict.fromkeys(("EmrCrashed", "EmrUncleanShutdown", "EmrAppAlert", "EmrNewErrorGroup"), "24h"),
        "EmrStoreCorrupt": "4h",
        **dict.fromkeys(("EmrBackupStale", "EmrBackupMissing", "EmrModelMissing"), "24h"),
        "Watchdog": "1m",
    }


def test_organisations_that_fail_one_after_another_give_few_messages() -> None:
    """They fail half a minute apart, as they are synchronised: each would be a message of its own."""
    tree = yaml.safe_load((FOLDER / "alertmanager.yml").read_text(encoding="utf-8"))
    assert "organization" not in tree["route"]["group_by"]
    routes = {route["receiver"]: route for route in tree["route"]["routes"]}
    for name in ("error", "warning"):
        route = next(each for each in routes[name]["routes"] if each["matchers"] == ['component="syncs"'])
        assert "group_by" not in route
        assert (route["group_wait"], route["group_interval"]) == ("1m", "10m")
    # An event is over after 5 minutes, and a group tells nothing that is over.
    deletion = next(each for each in routes["event"]["routes"] if "SyncMassDeletion" in each["matchers"][0])
    assert deletion["group_interval"] == "1m"


def test_an_application_that_raises_alerts_all_the_time_gives_few_messages_and_none_is_over_before_it_is_told() -> None:
    tree = yaml.safe_load((FOLDER / "alertmanager.yml").read_text(encoding="utf-8"))
    events = next(each for each in tree["route"]["routes"] if each["receiver"] == "event")
    assert events["group_wait"] == "0s"
    critical, others = (each for each in events["routes"] if "EmrAppAlert" in each["matchers"][0])
    assert 'severity="critical"' in critical["matchers"]
    for route, minutes in ((critical, 1), (others, 4)):
        assert "group_wait" not in route
        assert route["group_interval"] == f"{minutes}m"
        assert minutes < 5, "an event lasts 5 minutes, and a group tells nothing that is over"


def test_an_event_is_told_at_once_and_alone_and_by_mail_too() -> None:
    """Each is a group of its own, since its label changed_at is in it; a recovery would say nothing."""
    tree = yaml.safe_load((FOLDER / "alertmanager.yml").read_text(encoding="utf-8"))
    route = next(each for each in tree["route"]["routes"] if each["matchers"] == ['kind="event"'])
    assert (route["group_by"], route["group_wait"]) == (["..."], "0s")
    receiver = next(each for each in tree["receivers"] if each["name"] == route["receiver"])
    assert {"slack_configs", "email_configs", "webhook_configs"} <= receiver.keys()
    for kind in receiver.keys() - {"name"}:
        assert [channel["send_resolved"] for channel in receiver[kind]] == [False]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("case", CASES)
def test_messages_read_as_expected(amtool: Path, config: Path, case: str, part: str) -> None:
    kind = "html" if part.endswith("html") else "text"
    done = run(
        amtool,
        "template",
        "render",
        f"--template.glob={config.parent}/templates/*.tmpl",
        f"--template.type={kind}",
        f"--template.data={MESSAGES / case}.json",
        f"--template.text={PARTS[part]}",
    )
    assert done.returncode == 0, done.stderr
    golden = MESSAGES / f"{case}.{part}"
    if os.environ.get("GOLDEN") == "write":
        golden.write_text(done.stdout, encoding="utf-8")
    assert done.stdout == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("case", CASES)
def test_no_message_is_empty_or_lacks_a_value(case: str) -> None:
    for part in PARTS:
        text = (MESSAGES / f"{case}.{part}").read_text(encoding="utf-8")
        assert len(text.strip()) > 60
        assert "<no value>" not in text
        assert "&lt;no value" not in text
        assert ": \n" not in text
        assert "ZgotmplZ" not in text


def test_no_secret_is_committed() -> None:
    suspects = ("hooks.slack.com/services/", "xoxb-", "BEGIN PRIVATE KEY", "PASSWORD=s")
    files = [ROOT / ".env.example"]
    files += [
        path for folder in ("alertmanager", "prometheus") for path in (ROOT / folder).rglob("*") if path.is_file()
    ]
    for path in files:
        if path.suffix != ".pyc":
            text = path.read_text(encoding="utf-8")
            assert not [suspect for suspect in suspects if suspect in text], path
