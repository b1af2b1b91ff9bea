"""alertmanager/render.py: what it writes, keeps secret and refuses."""

from __future__ import annotations

import importlib.util
import os
import stat
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from bundle.rules import ROOT

SCRIPT = ROOT / "alertmanager" / "render.py"

SLACK = {"SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/T0/B0/secret-part"}
EMAIL = {"SMTP_HOST": "mail.example.org", "SMTP_FROM": "rounds@example.org", "SMTP_TO": "ops@example.org"}
LOGIN = {"SMTP_USER": "rounds", "SMTP_PASSWORD": "secret-part"}
WEBHOOK = {"ALERT_WEBHOOK_URL": "https://hooks.example.org/secret-part"}
DEADMAN = {"DEADMAN_WEBHOOK_URL": "https://deadman.example.org/secret-part"}
LINKS = {"GRAFANA_URL": "https://grafana.example.org/", "RUNBOOK_URL": "https://git.example.org/rounds/blob/main"}
EVERYTHING = SLACK | EMAIL | LOGIN | WEBHOOK | DEADMAN | LINKS
NASTY = "p$a#s's\"w\\o r{d} {{ .x }} ${HOME} %s ü\N{SNOWMAN} : - &*!|>"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("render", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["render"] = module
    spec.loader.exec_module(module)
    return module


render = load()


def run(environment: dict[str, str], output: Path, *arguments: str) -> int:
    code = render.main([f"--output={output}", *arguments], environment)
    assert isinstance(code, int)
    return code


def rendered(output: Path) -> dict[str, Any]:
    tree = yaml.safe_load((output / "alertmanager.yml").read_text(encoding="utf-8"))
    assert isinstance(tree, dict)
    return tree


def channels(output: Path, kind: str) -> dict[str, list[dict[str, Any]]]:
    return {each["name"]: each[kind] for each in rendered(output)["receivers"] if kind in each}


def test_everything_is_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(EVERYTHING, tmp_path) == 0
    tree = rendered(tmp_path)
    assert tree["global"] == {
        "resolve_timeout": "5m",
        "slack_api_url_file": f"{tmp_path}/secrets/slack_webhook_url",
        "smtp_smarthost": "mail.example.org:587",
        "smtp_from": "rounds@example.org",
        "smtp_require_tls": True,
        "smtp_auth_username": "rounds",
        "smtp_auth_password_file": f"{tmp_path}/secrets/smtp_password",
    }
    assert set(channels(tmp_path, "slack_configs")) == {"critical", "error", "warning", "info", "event"}
    assert set(channels(tmp_path, "email_configs")) == {"critical", "error", "warning", "event"}
    hooks = channels(tmp_path, "webhook_configs")
    assert {name: hook[0]["url"] for name, hook in hooks.items()} == {
        **dict.fromkeys(("critical", "error", "warning", "info", "event"), WEBHOOK["ALERT_WEBHOOK_URL"]),
        "deadman": DEADMAN["DEADMAN_WEBHOOK_URL"],
    }
    assert "example.org" not in (tmp_path / "templates" / "common.tmpl").read_text(encoding="utf-8")
    assert "not configured" not in capsys.readouterr().out


def test_what_is_not_configured_is_told_with_the_variables_that_turn_it_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert render.main(["--output", str(tmp_path)], {}) == 0
    said = capsys.readouterr().out
    for variable in ("SLACK_WEBHOOK_URL", "SMTP_HOST", "ALERT_WEBHOOK_URL", "DEADMAN_WEBHOOK_URL", "GRAFANA_URL"):
        assert f": not configured ({variable}" in said
    assert "nothing is sent" in said
    assert render.main(["--output", str(tmp_path)], EMAIL) == 0
    said = capsys.readouterr().out
    assert "e-mail: on" in said
    assert "Slack: not configured" in said
    assert "nothing is sent" not in said


def test_events_do_not_recover_and_everything_else_does(tmp_path: Path) -> None:
    run(EVERYTHING, tmp_path)
    for kind in ("slack_configs", "email_configs", "webhook_configs"):
        for name, configs in channels(tmp_path, kind).items():
            assert [config["send_resolved"] for config in configs] == [name not in ("event", "deadman")]


@pytest.mark.parametrize(
    ("environment", "kinds"),
    [
        ({}, set()),
        (SLACK, {"slack_configs"}),
        (EMAIL, {"email_configs"}),
        (WEBHOOK, {"webhook_configs"}),
        (DEADMAN, {"webhook_configs"}),
    ],
)
def test_what_is_not_configured_leaves_no_trace(environment: dict[str, str], kinds: set[str], tmp_path: Path) -> None:
    assert run(environment | dict.fromkeys(set(render.VARIABLES) - set(environment), ""), tmp_path) == 0
    assert {key for receiver in rendered(tmp_path)["receivers"] for key in receiver} - {"name"} == kinds
    expected = {prefix for kind, prefix in (("slack_configs", "slack"), ("email_configs", "smtp")) if kind in kinds}
    assert {key.split("_")[0] for key in rendered(tmp_path)["global"]} - {"resolve"} == expected
    text = (tmp_path / "alertmanager.yml").read_text(encoding="utf-8")
    assert "127.0.0.1" not in text
    assert ("example.org" in text) == bool(kinds - {"slack_configs"})
    names = [receiver["name"] for receiver in rendered(tmp_path)["receivers"]]
    assert names == ["critical", "error", "warning", "info", "event", "deadman"]


def test_nasty_values_survive(tmp_path: Path) -> None:
    environment = EVERYTHING | {
        "SMTP_USER": NASTY,
        "SMTP_PASSWORD": NASTY,
        "SLACK_CHANNEL": "#a'b\"c ü: {x} $y \\n",
        "SLACK_WEBHOOK_URL": "https://hooks.example.org/$a{b}'c\"#\\",
        "ALERT_WEBHOOK_URL": "https://hooks.example.org/?a=$b&c='d'#\"e\"",
    }
    assert run(environment, tmp_path) == 0
    tree = rendered(tmp_path)
    assert tree["global"]["smtp_auth_username"] == NASTY
    assert (tmp_path / "secrets" / "smtp_password").read_text(encoding="utf-8") == NASTY
    assert (tmp_path / "secrets" / "slack_webhook_url").read_text(encoding="utf-8") == environment["SLACK_WEBHOOK_URL"]
    assert channels(tmp_path, "slack_configs")["critical"][0]["channel"] == environment["SLACK_CHANNEL"]
    assert channels(tmp_path, "webhook_configs")["error"][0]["url"] == environment["ALERT_WEBHOOK_URL"]


@pytest.mark.parametrize("value", ["null", "123", "yes", "- x", "*a", "2026-01-01", "~", "0x10"])
def test_what_looks_like_yaml_stays_text(value: str, tmp_path: Path) -> None:
    assert run(SLACK | {"SLACK_CHANNEL": value}, tmp_path) == 0
    assert channels(tmp_path, "slack_configs")["info"][0]["channel"] == value


def test_the_channel_for_critical_alerts_is_theirs_alone(tmp_path: Path) -> None:
    assert run(SLACK | {"SLACK_CHANNEL": "#ops", "SLACK_CHANNEL_CRITICAL": "#pager"}, tmp_path) == 0
    found = {name: configs[0]["channel"] for name, configs in channels(tmp_path, "slack_configs").items()}
    assert found == {"critical": "#pager", "error": "#ops", "warning": "#ops", "info": "#ops", "event": "#ops"}
    assert run(SLACK, tmp_path) == 0
    assert not any("channel" in configs[0] for configs in channels(tmp_path, "slack_configs").values())


@pytest.mark.parametrize(
    ("settings", "smarthost", "require"),
    [
        ({}, "mail.example.org:587", True),
        ({"SMTP_PORT": "2525"}, "mail.example.org:2525", True),
        ({"SMTP_PORT": "465"}, "mail.example.org:465", False),
        ({"SMTP_TLS": "implicit"}, "mail.example.org:465", False),
        ({"SMTP_TLS": "none"}, "mail.example.org:25", False),
        ({"SMTP_TLS": "STARTTLS", "SMTP_HOST": "2001:db8::1"}, "[2001:db8::1]:587", True),
        ({"SMTP_TLS": "none", "SMTP_HOST": "localhost", **LOGIN}, "localhost:25", False),
    ],
)
def test_how_mail_is_sent(settings: dict[str, str], smarthost: str, require: bool, tmp_path: Path) -> None:
    assert run(EMAIL | settings, tmp_path) == 0
    general = rendered(tmp_path)["global"]
    assert (general["smtp_smarthost"], general["smtp_require_tls"]) == (smarthost, require)


def test_several_receivers_of_mail(tmp_path: Path) -> None:
    assert run(EMAIL | {"SMTP_TO": "a@example.org,Operations <b@example.org> "[:-1]}, tmp_path) == 0
    assert channels(tmp_path, "email_configs")["error"][0]["to"] == "a@example.org, Operations <b@example.org>"


def test_values_from_files(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("https://hooks.example.org/x\r\n\n", encoding="utf-8")
    assert run({"SLACK_WEBHOOK_URL_FILE": str(secret)}, tmp_path / "out") == 0
    assert (tmp_path / "out" / "secrets" / "slack_webhook_url").read_text(
        encoding="utf-8"
    ) == "https://hooks.example.org/x"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (EMAIL | {"SMTP_USER": "u"}, "SMTP_USER is set, but SMTP_PASSWORD is not"),
        (EMAIL | {"SMTP_PASSWORD": "secret-part"}, "SMTP_PASSWORD is set, but SMTP_USER is not"),
        (EMAIL | LOGIN | {"SMTP_TLS": "none"}, "SMTP_USER needs TLS"),
        (EMAIL | {"SMTP_TLS": "ssl"}, "SMTP_TLS should be one of starttls, implicit, none"),
        (EMAIL | {"SMTP_TLS": "starttls", "SMTP_PORT": "465"}, "port 465"),
        (EMAIL | {"SMTP_TLS": "implicit", "SMTP_PORT": "587"}, "port 465"),
        (EMAIL | {"SMTP_PORT": "smtp"}, "SMTP_PORT should be a number"),
        (EMAIL | {"SMTP_PORT": "70000"}, "SMTP_PORT should be a number"),
        (EMAIL | {"SMTP_HOST": "mail.example.org:587"}, "the port goes into SMTP_PORT"),
        (EMAIL | {"SMTP_TO": "nobody"}, "SMTP_TO should hold mail addresses"),
        (EMAIL | {"SMTP_TO": "a@example.org,"}, "SMTP_TO should hold mail addresses"),
        (EMAIL | {"SMTP_FROM": "a@example.org, b@example.org"}, "SMTP_FROM should hold mail addresses"),
        (EMAIL | {"SMTP_TO": "Zoë <z@example.org>"}, "ASCII"),
        (EMAIL | {"SMTP_TO": ""}, "SMTP_HOST is set, but SMTP_TO is not"),
        (EMAIL | {"SMTP_FROM": ""}, "SMTP_HOST is set, but SMTP_FROM is not"),
        ({"SMTP_TO": "ops@example.org"}, "SMTP_TO is set, but SMTP_HOST is not"),
        (LOGIN, "SMTP_USER is set, but SMTP_HOST is not"),
        ({"SLACK_CHANNEL": "#ops"}, "SLACK_CHANNEL is set, but SLACK_WEBHOOK_URL is not"),
        ({"SLACK_WEBHOOK_URL": "secret-part"}, "SLACK_WEBHOOK_URL should be a URL"),
        ({"SLACK_WEBHOOK_URL": "ftp://secret-part/"}, "SLACK_WEBHOOK_URL should be a URL"),
        ({"SLACK_WEBHOOK_URL": "https:///secret-part"}, "SLACK_WEBHOOK_URL should be a URL"),
        ({"SLACK_WEBHOOK_URL": "https://secret-part:x/"}, "SLACK_WEBHOOK_URL should be a URL"),
        ({"ALERT_WEBHOOK_URL": "https://a/ secret-part"}, "ALERT_WEBHOOK_URL should be a URL"),
        ({"ALERT_WEBHOOK_URL": "https://a/{{secret-part"}, "ALERT_WEBHOOK_URL holds {{"),
        (SLACK | {"SLACK_CHANNEL": "{{ .x }}"}, "SLACK_CHANNEL holds {{"),
        ({"DEADMAN_WEBHOOK_URL": "secret-part"}, "DEADMAN_WEBHOOK_URL should be a URL"),
        ({"GRAFANA_URL": "https://g/?a=b"}, "GRAFANA_URL cannot have a query"),
        ({"RUNBOOK_URL": "git.example.org"}, "RUNBOOK_URL should be a URL"),
        (EMAIL | LOGIN | {"SMTP_PASSWORD": "secret\npart"}, "SMTP_PASSWORD holds a line break"),
        (EMAIL | LOGIN | {"SMTP_PASSWORD": "secret-part "}, "SMTP_PASSWORD begins or ends with a blank"),
        (SLACK | {"SLACK_WEBHOOK_URL_FILE": "/x"}, "SLACK_WEBHOOK_URL and SLACK_WEBHOOK_URL_FILE are both set"),
        ({"SLACK_WEBHOOK_URL_FILE": "/nowhere/at/all"}, "cannot read /nowhere/at/all: No such file"),
        ({"SLACK_WEBHOOK_URL_FILE": "/dev/null"}, "/dev/null is empty"),
    ],
)
def test_refusals_change_nothing_and_show_no_secret(
    settings: dict[str, str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(SLACK, tmp_path) == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert run(settings, tmp_path) == 2
    output = capsys.readouterr()
    assert message in output.err
    assert output.err.startswith("render.py: ")
    assert "secret-part" not in output.err + output.out
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_only_secrets_hold_secrets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(SLACK | EMAIL | LOGIN | LINKS, tmp_path)
    holders = {path.name for path in tmp_path.rglob("*") if path.is_file() and b"secret-part" in path.read_bytes()}
    assert holders == {"slack_webhook_url", "smtp_password"}
    output = capsys.readouterr()
    assert "secret-part" not in output.out + output.err


def test_only_the_owner_reads_what_can_hold_secrets(tmp_path: Path) -> None:
    run(EVERYTHING, tmp_path)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*") if path.is_file()}
    assert modes == {0o600}
    run(EVERYTHING, tmp_path, "--mode=0640", f"--owner={os.getuid()}:{os.getgid()}")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*") if path.is_file()}
    assert modes == {0o640}


@pytest.mark.parametrize("argument", ["--mode=0644", "--mode=0200", "--mode=rw", "--owner=root", "--path=relative"])
def test_wrong_arguments(argument: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        run({}, tmp_path / "out", argument)
    assert caught.value.code == 2
    assert not (tmp_path / "out").exists()


def test_a_channel_that_is_turned_off_takes_its_secret_along(tmp_path: Path) -> None:
    run(EVERYTHING, tmp_path)
    run(WEBHOOK, tmp_path)
    assert list((tmp_path / "secrets").iterdir()) == []


def test_secrets_are_found_by_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(SLACK, Path("out")) == 0
    assert rendered(tmp_path / "out")["global"]["slack_api_url_file"] == f"{tmp_path}/out/secrets/slack_webhook_url"
    assert run(SLACK, Path("out"), "--path=/etc/alertmanager/") == 0
    assert rendered(tmp_path / "out")["global"]["slack_api_url_file"] == "/etc/alertmanager/secrets/slack_webhook_url"


def test_a_failed_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(SLACK, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(render.os, "fsync", fail)
    assert run(EVERYTHING, tmp_path) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_an_output_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert run({}, tmp_path / "file") == 1
    assert "cannot write" in capsys.readouterr().err


def test_the_committed_links_are_those_without_addresses() -> None:
    committed = (ROOT / "alertmanager" / "templates" / "links.tmpl").read_text(encoding="utf-8")
    assert committed == render._links("", "")


def test_the_example_names_every_variable_and_turns_none_on(tmp_path: Path) -> None:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    values = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert set(render.VARIABLES) <= set(values)
    assert run(values, tmp_path) == 0
    assert all(set(receiver) == {"name"} for receiver in rendered(tmp_path)["receivers"])


def test_it_runs_as_a_program(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT)]
    helped = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert all(name in helped.stdout for name in render.VARIABLES)
    done = subprocess.run([*command, f"--output={tmp_path}"], capture_output=True, text=True, check=True, env=SLACK)
    assert done.stdout.startswith(f"{tmp_path}/alertmanager.yml is written.\n    Slack: on\n    e-mail: not configured")
    assert run({}, tmp_path) == 0
