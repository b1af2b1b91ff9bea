"""The compose files on a real engine: they come up, say what is missing when a part dies, and keep what they should.

They need ``docker compose``, an engine that answers, and the images, or stand-ins of the same names.
"""

from __future__ import annotations

import functools
import html
import json
import os
import re
import time
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.compose import BASE, DEMO, Stack, copy_checkout, require_engine, wait_for

pytestmark = pytest.mark.slow

ONCE = {"alertmanager-config", "grafana-password", "grafana-sources"}
#: Each holds what compose, YAML, the shell, Grafana or Alertmanager could trip over. `.invalid` is no domain.
NASTY = {
    "SLACK_WEBHOOK_URL": "https://hooks.invalid/$a#b\"c'd",
    "SLACK_CHANNEL": '#ops "it\'s" $HOME',
    "SMTP_HOST": "mail.invalid",
    "SMTP_FROM": 'Rounds & "friends" <rounds@example.org>',
    "SMTP_TO": "ops@example.org, night@example.org",
    "SMTP_USER": "us er#1 $2",
    "SMTP_PASSWORD": "a$b #c \"d\" 'e' ${HOME} f\\g: [h] {i}",
    "GRAFANA_ADMIN_PASSWORD": "p$$ w#rd \"x\" 'y' $HOME \\n",
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_engine()
    return copy_checkout(tmp_path_factory.mktemp("checkout"))


@pytest.fixture
def start(checkout: Path) -> Iterator[Callable[..., Stack]]:
    """Makes stacks, and removes all of them at the end."""
    stacks: list[Stack] = []

    def make(*files: str) -> Stack:
        stacks.append(Stack(checkout, files, f"rounds-test-{os.getpid()}-{len(stacks)}"))
        return stacks[-1]

    try:
        yield make
    finally:
        for stack in stacks:
            stack.run("down", "--volumes", check=False)
        (checkout / ".env").unlink(missing_ok=True)


@pytest.fixture(scope="module")
def demo(checkout: Path) -> Iterator[Stack]:
    stack = Stack(checkout, (BASE, DEMO), f"rounds-test-{os.getpid()}-demo")
    try:
        stack.up(build=True)
        yield stack
    finally:
        stack.run("down", "--volumes", check=False)


def dashboards(checkout: Path) -> set[str]:
    files = (checkout / "grafana" / "dashboards").rglob("*.json")
    return {json.loads(file.read_text(encoding="utf-8"))["uid"] for file in files}


def expect_grafana(stack: Stack, checkout: Path, password: str) -> None:
    """It takes the password, has all dashboards, and reaches both data sources."""
    found = stack.get("GRAFANA_PORT", "/api/search?type=dash-db", password)
    assert {each["uid"] for each in found} == dashboards(checkout)
    sources = {each["uid"] for each in stack.get("GRAFANA_PORT", "/api/datasources", password)}
    assert {"prometheus", "alertmanager"} <= sources
    for uid in ("prometheus", "alertmanager"):
        assert stack.get("GRAFANA_PORT", f"/api/datasources/uid/{uid}/health", password)["status"] == "OK"


def alertmanager_config(stack: Stack) -> Any:
    """The configuration as Alertmanager itself understood it."""
    return yaml.safe_load(stack.get("ALERTMANAGER_PORT", "/api/v2/status")["config"]["original"])


def slack_channel(config: Any) -> Any:
    """That for critical alerts."""
    critical = next(each for each in config["receivers"] if each["name"] == "critical")
    return critical["slack_configs"][0]["channel"]


def test_it_comes_up_without_settings_and_keeps_history_and_password(
    start: Callable[..., Stack], checkout: Path
) -> None:
    stack = start(BASE)
    took = stack.up(build=True)
    assert took < 180
    assert {name: state for name, state in stack.states().items() if name not in ONCE} == dict.fromkeys(
        ("exporter", "prometheus", "alertmanager", "grafana"), "healthy"
    )
    password = stack.password()
    assert len(password) >= 20
    expect_grafana(stack, checkout, password)
    with pytest.raises(urllib.error.HTTPError, match="401"):
        stack.get("GRAFANA_PORT", "/api/datasources", "admin")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        stack.get("GRAFANA_PORT", "/api/datasources")
    said = stack.log("alertmanager-config")
    assert "nothing is sent" in said
    assert "Slack: not configured (SLACK_WEBHOOK_URL)" in said
    assert "the journal of watched tables: not configured (JOURNAL_KIND)" in stack.log("grafana-sources")
    off = re.findall(r'event="domain is off" domain=(\w+)', stack.log("exporter"))
    assert off == ["tables", "apr", "syncs", "emr"]
    assert "no section for: tables, apr, syncs, emr." in stack.run("exec", "-T", "exporter", "rounds", "status").stdout
    wait_for("a first scrape", lambda: stack.query('up{job="rounds"} == 1'), 30)
    then = time.time()

    assert stack.down() < 5
    stack.up()

    assert stack.query('up{job="rounds"}', at=then)
    assert password not in stack.log("grafana-password")
    expect_grafana(stack, checkout, password)
    assert stack.down("--volumes") < 5


def test_values_survive_and_a_change_is_taken_up(start: Callable[..., Stack], checkout: Path) -> None:
    def write(**changes: str) -> None:
        # In single quotes compose replaces nothing but \' by '.
        lines = [f"{name}='" + value.replace("'", "\\'") + "'" for name, value in {**NASTY, **changes}.items()]
        (checkout / ".env").write_text("\n".join(lines) + "\n", encoding="utf-8")

    stack = start(BASE)
    write()
    assert stack.up() < 180

    folder = "/rendered/alertmanager"
    assert stack.read("alertmanager", f"{folder}/secrets/smtp_password") == NASTY["SMTP_PASSWORD"]
    assert stack.read("alertmanager", f"{folder}/secrets/slack_webhook_url") == NASTY["SLACK_WEBHOOK_URL"]
    config = alertmanager_config(stack)
    assert config["global"]["smtp_auth_username"] == NASTY["SMTP_USER"]
    assert config["global"]["smtp_from"] == NASTY["SMTP_FROM"]
    assert slack_channel(config) == NASTY["SLACK_CHANNEL"]
    expect_grafana(stack, checkout, NASTY["GRAFANA_ADMIN_PASSWORD"])

    write(SLACK_CHANNEL="#elsewhere")
    stack.up()
    assert slack_channel(alertmanager_config(stack)) == "#elsewhere"


def test_wrong_settings_are_told(start: Callable[..., Stack], checkout: Path) -> None:
    stack = start(BASE)
    (checkout / ".env").write_text("SMTP_PASSWORD='secret'\n", encoding="utf-8")
    done = stack.run("up", "-d", check=False)
    assert done.returncode != 0
    assert "alertmanager-config" in done.stderr
    said = stack.run("logs", "--no-log-prefix", "alertmanager-config").stdout
    assert "SMTP_PASSWORD is set, but SMTP_HOST is not" in said


def test_sources_come_from_settings(start: Callable[..., Stack], checkout: Path) -> None:
    """One that is chosen and not described is told; one that does not answer takes nothing else along."""
    stack = start(BASE)
    (checkout / ".env").write_text("APR_SOURCE=mariadb\n", encoding="utf-8")
    stack.run("up", "-d", "exporter")
    wait_for("it is told", lambda: "sources.apr.host: should not be empty" in stack.log("exporter"), 30)
    lines = [
        "APR_SOURCE=mariadb",
        "APR_SOURCE_HOST=mariadb.invalid",
        "APR_SOURCE_USER=rounds",
        "APR_SOURCE_PASSWORD='x$y'",
    ]
    (checkout / ".env").write_text("\n".join(lines), encoding="utf-8")
    stack.run("up", "-d", "--wait", "exporter")

    def status() -> dict[str, str]:
        collectors = stack.get("ROUNDS_PORT", "/api/v1/status")["collectors"]
        return {each["name"]: each["state"] for each in collectors}

    wait_for("both have run", lambda: status() == {"apr": "failed", "services": "ok"}, 30)


@pytest.mark.parametrize("together", [("alertmanager-cluster", "prometheus-pair")], ids="+".join)
def test_overlays_come_up_and_members_know_each_other(start: Callable[..., Stack], together: tuple[str, ...]) -> None:
    stack = start(BASE, *(f"deploy/compose/{name}.yml" for name in together))
    stack.up()
    assert len(stack.get("ALERTMANAGER_PORT", "/api/v2/status")["cluster"]["peers"]) == 3
    wait_for("all targets are up", lambda: len(stack.query("up == 1")) == 7 and not stack.query("up == 0"), 30)
    told = "count(prometheus_notifications_sent_total > 0) == 3"
    wait_for("all three are told", lambda: stack.query(told), 60)
    alerts = stack.get("ALERTMANAGER_PORT", "/api/v2/alerts")
    assert alerts
    assert not any("replica" in each["labels"] for each in alerts)
    password = stack.password()
    sources = {each["uid"] for each in stack.get("GRAFANA_PORT", "/api/datasources", password)}
    assert "prometheus-2" in sources
    assert stack.get("GRAFANA_PORT", "/api/datasources/uid/prometheus-2/health", password)["status"] == "OK"


def test_containers_are_what_the_files_say(demo: Stack) -> None:
    listening = set()
    for name, container in demo.inspect().items():
        host = container["HostConfig"]
        assert container["Config"]["User"].split(":")[0] not in ("", "0", "root"), name
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert "no-new-privileges:true" in host["SecurityOpt"], name
        assert host["Memory"] > 0, name
        assert name in ONCE or container["Config"]["Healthcheck"]["Test"], name
        bindings = [each for ports in (host["PortBindings"] or {}).values() for each in ports]
        assert {each["HostIp"] for each in bindings} <= {"127.0.0.1"}, name
        listening |= {int(each["HostPort"]) for each in bindings}
    assert listening == set(demo.ports.values())


def test_an_alert_and_its_recovery_reach_both_catchers(demo: Stack) -> None:
    def slack(start: str) -> Callable[[], bool]:
        return lambda: any(
            each["attachments"][0]["title"].startswith(f"{start}: api-gateway") for each in demo.get("SLACK_PORT", "/")
        )

    def mail(start: str) -> Callable[[], bool]:
        return lambda: any(
            each["Subject"].startswith(f"[Rounds] {start}: api-gateway")
            for each in demo.get("MAILPIT_PORT", "/api/v1/messages")["messages"]
        )

    for start in ("CRITICAL", "RECOVERED"):
        # On a slow machine the first round of the script is over before all is up; a round takes four minutes.
        wait_for(f"{start} in Slack", slack(start), 300)
        wait_for(f"{start} by mail", mail(start), 30)


def test_changes_of_a_table_reach_both_catchers(demo: Stack) -> None:
    """On the first round of the script, or on a later one."""
    told = {
        "INFO: 2 rows inserted in patients (240 -> 242)",
        "WARNING: 1 row deleted in patients (242 -> 241)",
        "CRITICAL: 39.02% of the rows of patients were deleted",
    }

    def slack() -> bool:
        return told <= {html.unescape(each["attachments"][0]["title"]) for each in demo.get("SLACK_PORT", "/")}

    def mail() -> bool:
        found = {each["Subject"] for each in demo.get("MAILPIT_PORT", "/api/v1/messages?limit=500")["messages"]}
        return {f"[Rounds] {each}" for each in told} <= found

    wait_for("they are in Slack", slack, 300)
    wait_for("they are in the mail", mail, 30)
    command = ["rounds", "changes", "--format=json", "--table=patients"]
    files = [f"--config.file=/etc/rounds/{name}.yml" for name in ("rounds", "demo")]
    assert demo.query('rounds_collector_success{collector="tables/appointments"} == 1')
    listing = demo.run("exec", "-T", "exporter", *command, *files).stdout
    assert ["241", "242"] in [json.loads(line)["keys"] for line in listing.splitlines()]


def test_a_desktop_program_is_followed_through_a_volume_that_is_only_read(demo: Stack) -> None:
    wait_for("it runs", lambda: demo.query('rounds_emr_app_running{app="docassist"} == 1'), 60)
    for check in ("database", "llm", "disk", "memory", "backup"):
        state = f'rounds_emr_health_state{{check="{check}",state!="unknown"}} == 1'
        wait_for(f"{check} is checked", functools.partial(demo.query, state), 60)
    crash = 'rounds_emr_crashes_total{kind="python"} > 0'
    wait_for("a crash is counted", lambda: demo.query(crash), 180)
    assert demo.query('rounds_collector_success{collector="emr/docassist"} == 1')


def test_dashboards_are_shown_without_a_password_in_the_demo(demo: Stack, checkout: Path) -> None:
    found = demo.get("GRAFANA_PORT", "/api/search?type=dash-db")
    assert {each["uid"] for each in found} == dashboards(checkout)


def failed(demo: Stack, integration: str) -> bool:
    """Whether notifications by this channel have failed in the last minute."""
    name = f'alertmanager_notifications_failed_total{{integration="{integration}"}}'
    return bool(demo.query(f"sum(increase({name}[1m])) > 0"))


def source_is_down(demo: Stack) -> bool:
    try:
        demo.get("GRAFANA_PORT", "/api/datasources/uid/prometheus/health", demo.password())
    except urllib.error.HTTPError:
        return True
    return False


#: What says that a container is missing, while all others stay healthy.
MISSING: dict[str, Callable[[Stack], object]] = {
    "exporter": lambda demo: demo.query('up{job="rounds"} == 0') and "ExporterDown" in demo.firing(),
    "alertmanager": lambda demo: demo.query('up{job="alertmanager"} == 0'),
    "prometheus": source_is_down,
    # Nobody watches Grafana but its own health check.
    "grafana": lambda demo: demo.states()["grafana"] == "exited",
    "demo-services": lambda demo: demo.query('count(rounds_check_state{state="down"} == 1) == 9'),
    "fakesnow": lambda demo: demo.query('rounds_collector_success{collector="tables/patients"} == 0'),
    # A table that nobody changes is no fault.
    "demo-tables": lambda demo: demo.states()["demo-tables"] == "exited",
    "demo-emr": lambda demo: demo.query('rounds_emr_health_state{check="llm",state="unhealthy"} == 1'),
    "slack": lambda demo: failed(demo, "slack"),
    "mailpit": lambda demo: failed(demo, "email"),
}


@pytest.mark.parametrize("victim", MISSING)
def test_a_container_that_is_killed_is_missed_and_comes_back(demo: Stack, victim: str) -> None:
    others = {name: "healthy" for name in MISSING if name != victim}
    demo.run("kill", victim)

    wait_for(f"{victim} is missed", lambda: MISSING[victim](demo), 120)

    states = demo.states()
    assert {name: states[name] for name in others} == others
    assert victim == "exporter" or "rounds_build_info" in demo.get("ROUNDS_PORT", "/metrics")
    demo.up()
    if victim != "prometheus":
        wait_for("all targets are up", lambda: not demo.query("up == 0"), 30)


@pytest.mark.parametrize("victim", MISSING)
def test_a_process_that_ends_is_started_again(demo: Stack, victim: str) -> None:
    # A program that is the first process of its container and has only just begun does not hear the signal yet.
    wait_for("it is healthy", lambda: demo.states()[victim] == "healthy", 60)
    before = demo.inspect()[victim]["RestartCount"]
    if victim in {"exporter", "prometheus", "alertmanager"}:
        # From inside: after `docker compose kill`, with whatever signal, nothing is started again.
        demo.run("exec", "-T", victim, "sh", "-c", "kill -HUP 1")
    demo.run("exec", "-T", victim, "sh", "-c", "kill 1", check=False)  # it may take the shell with it
    wait_for("it is started", lambda: demo.inspect()[victim]["RestartCount"] > before, 30)
    wait_for("it is healthy", lambda: demo.states()[victim] == "healthy", 60)


def test_the_demo_ends_quickly(demo: Stack) -> None:
    assert demo.down("--volumes") < 10, "after 10 s Docker kills what has not ended by itself"
