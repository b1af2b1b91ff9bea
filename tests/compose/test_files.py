"""What the compose files and the Dockerfile promise, read from the files alone."""

from __future__ import annotations

import json
import re
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from grafana.src import kit

from rounds.apr.config import AprSection
from rounds.config import load_config
from rounds.demo import clinic_writer, pipeline_writer
from rounds.demo.bundle import PIPELINE, SYNCS, watched_app
from rounds.demo.writer import WAREHOUSE
from rounds.domains import all_domains
from rounds.emr.config import App
from rounds.errors import ConfigError
from rounds.fields import parse_duration
from rounds.syncs.config import Sync
from support.compose import BASE, DEMO, OVERLAY_PORTS, PORTS, ROOT, Stack, require_compose


class Loader(yaml.SafeLoader):
    """Knows Compose's own tag for a list that takes another's place, where lists of two files would be joined."""


def override(loader: Loader, node: yaml.SequenceNode) -> list[Any]:
    return loader.construct_sequence(node)


Loader.add_constructor("!override", override)

OVERLAYS = sorted(str(file.relative_to(ROOT)) for file in (ROOT / "deploy" / "compose").glob("*.yml"))
FILES = {name: yaml.load((ROOT / name).read_text(encoding="utf-8"), Loader) for name in (BASE, DEMO, *OVERLAYS)}
#: All definitions of services: those of the base, and what the demo and the overlays add or change.
DEFINED = [(file, name) for file, tree in FILES.items() for name in tree["services"]]
#: Without those that only change a service of the base.
WHOLE = [(file, name) for file, name in DEFINED if "image" in FILES[file]["services"][name]]
#: One of the two histories, and all else.
ALL_AT_ONCE = [file for file in OVERLAYS if "mimir" not in file]
VOLUMES = sorted({volume for tree in FILES.values() for volume in tree["volumes"]})
#: By the image that is made.
DOCKERFILES = {
    image: (ROOT / "exporter" / name).read_text(encoding="utf-8")
    for image, name in {"rounds-exporter": "Dockerfile", "rounds-fakesnow": "fakesnow.Dockerfile"}.items()
}
SETTINGS = (ROOT / ".env.example").read_text(encoding="utf-8")
#: What is in Grafana only where a variable of the environment chooses it, with the variable's values.
CHOICES = {
    name: sorted(folder.name for folder in (ROOT / "grafana" / name).iterdir()) for name in ("journal", "apr", "syncs")
}
#: The same for what the exporter watches.
SOURCES = {
    name: sorted(file.stem for file in (ROOT / "exporter" / "sources" / name).iterdir())
    for name in ("tables", "apr", "syncs")
}
EXACT = re.compile(r"v?\d+\.\d+\.\d+(-[a-z-]+)?")


def service(file: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = FILES[file]["services"][name]
    return found


def once(definition: dict[str, Any]) -> bool:
    """Whether it prepares something and ends."""
    return bool(definition["restart"] == "no")


def variables() -> dict[str, set[str]]:
    """Each variable in the files, with its defaults."""
    found: dict[str, set[str]] = {}
    for file in FILES:
        text = re.sub(r"^\s*#.*$", "", (ROOT / file).read_text(encoding="utf-8"), flags=re.MULTILINE)
        for name, default in re.findall(r"\$\{(\w+)(?::-((?:\$\{[^}]*\}|[^}])*))?\}", text):
            found.setdefault(name, set()).add(default)
    return found


def test_the_services_are_those() -> None:
    assert set(FILES[BASE]["services"]) == {
        *("exporter", "prometheus", "alertmanager", "grafana"),
        *("alertmanager-config", "grafana-password", "grafana-sources"),
    }
    assert {name for file, name in WHOLE if file == DEMO} == {
        *("demo-services", "demo-tables", "demo-pipeline", "demo-syncs", "demo-emr"),
        *("fakesnow", "mariadb", "postgres", "slack", "mailpit"),
    }


@pytest.mark.parametrize(("file", "name"), WHOLE)
def test_images_are_pinned(file: str, name: str) -> None:
    definition = service(file, name)
    image, _, tag = definition["image"].rpartition(":")
    if "build" in definition:
        assert tag == "local"
        file = definition["build"]["dockerfile"]
        assert definition["build"] == {"context": ".", "dockerfile": file}
        assert DOCKERFILES[image] == (ROOT / file).read_text(encoding="utf-8")
    else:
        # PostgreSQL's versions have two numbers.
        assert EXACT.fullmatch(f"{tag}.0" if image == "postgres" else tag), definition["image"]
    assert "pull_policy" not in definition


def test_the_base_image_is_pinned_and_of_the_oldest_python() -> None:
    # The same in all files.
    pinned = {image for file in DOCKERFILES.values() for image in re.findall(r"^ARG PYTHON=(\S+)$", file, re.MULTILINE)}
    (image,) = pinned
    for file in DOCKERFILES.values():
        assert set(re.findall(r"^FROM (\S+)", file, re.MULTILINE)) == {"${PYTHON}"}
    tag = image.removeprefix("python:")
    assert EXACT.fullmatch(tag)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == f">={tag.rpartition('.')[0]}"


@pytest.mark.parametrize("image", DOCKERFILES)
def test_the_image_is_small_and_without_root(image: str) -> None:
    build, final = re.split(r"^FROM .*$", DOCKERFILES[image], flags=re.MULTILINE)[1:]
    installed = re.findall(r"^RUN pip .* install (.*)$", build, re.MULTILINE)
    assert installed[0].startswith("--require-hashes --only-binary=:all: -r requirements")
    assert all(each.startswith("--no-deps ") for each in installed[1:])
    assert "pip" not in final
    assert "apt-get" not in final
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", final, re.MULTILINE)
    assert re.search(r"^ENTRYPOINT ", final, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK ", final, re.MULTILINE)
    # Such a line makes the builder fetch another image.
    assert not DOCKERFILES[image].startswith("# syntax")


def test_the_exporters_image_runs_it_with_the_default_configuration() -> None:
    assert re.search(r'^ENTRYPOINT \["rounds"\]$', DOCKERFILES["rounds-exporter"], re.MULTILINE)
    assert "/etc/rounds/rounds.yml" in DOCKERFILES["rounds-exporter"]


def test_the_server_in_place_of_snowflake_runs_as_its_image_does() -> None:
    """The overlay's services have entry points of their own, so that of the image is repeated."""
    for word in ("ENTRYPOINT", "CMD"):
        said = json.loads(re.findall(rf"^{word} (.*)$", DOCKERFILES["rounds-fakesnow"], re.MULTILINE)[0])
        assert service(DEMO, "fakesnow")[{"CMD": "command"}.get(word, "entrypoint")] == said


def test_the_demos_configuration_goes_with_the_default_one() -> None:
    """Command, address and tables are those of the containers beside it."""
    command = service(DEMO, "exporter")["command"]
    files = [flag.partition("=")[2] for flag in command if flag.startswith("--config.file=")]
    mounts = {mount["target"]: ROOT / mount["source"] for mount in service(DEMO, "exporter")["volumes"]}
    mounts |= {mount["target"]: ROOT / mount["source"] for mount in service(BASE, "exporter")["volumes"]}
    sections = {domain.name: domain.section for domain in all_domains()}
    config: Any = load_config([mounts[file] for file in files], sections)
    source = config.sources["warehouse"]
    assert f"--warehouse={source.host}:{source.port}" in service(DEMO, "demo-tables")["command"]
    assert source.host in FILES[DEMO]["services"]
    assert {table.name: table.table for table in config.tables} == WAREHOUSE
    database = config.sources[config.apr.source]
    assert f"--mariadb={database.host}:{database.port}" in service(DEMO, "demo-pipeline")["command"]
    assert database.host in FILES[DEMO]["services"]
    assert database.database == service(DEMO, "mariadb")["environment"]["MARIADB_DATABASE"] == pipeline_writer.DATABASE
    # Limits are those of `rounds demo`.
    assert config.apr == AprSection.model_validate({"source": config.apr.source, **PIPELINE})
    (sync,) = config.syncs
    log = config.sources[sync.source]
    assert f"--postgresql={log.host}:{log.port}" in service(DEMO, "demo-syncs")["command"]
    assert log.host in FILES[DEMO]["services"]
    assert log.database == service(DEMO, log.host)["environment"]["POSTGRES_DB"] == clinic_writer.DATABASE
    assert sync == Sync.model_validate({"source": sync.source, **SYNCS})
    (app,) = config.emr
    store, models = config.sources[app.source].path, urlsplit(app.checks.llm.url)
    assert f"--file={store}" in service(DEMO, "demo-emr")["command"]
    assert f"--models=0.0.0.0:{models.port}" in service(DEMO, "demo-emr")["command"]
    assert models.hostname == "demo-emr"
    assert app == App.model_validate({"source": app.source, **watched_app(store.parent, models.netloc)})
    for name in ("demo-emr", "exporter"):
        (mount,) = (each for each in service(DEMO, name)["volumes"] if each["type"] == "volume")
        assert (mount["target"], mount.get("read_only", False)) == (str(store.parent), name == "exporter")
    # All else is the image's.
    own = re.findall(r"^CMD (.*)$", DOCKERFILES["rounds-exporter"], re.MULTILINE)[0]
    assert [flag for flag in command if flag != "--config.file=/etc/rounds/demo.yml"] == json.loads(own)


def test_who_comes_to_the_demos_databases_has_a_user_that_may_no_more_than_it_must() -> None:
    (mount,) = service(DEMO, "mariadb")["volumes"]
    text = (ROOT / mount["source"]).read_text(encoding="utf-8")
    assert Path(mount["target"]).parent == Path("/docker-entrypoint-initdb.d")
    made = dict(re.findall(r"^CREATE USER (\w+)@'%' IDENTIFIED BY '(\w+)'", text, re.MULTILINE))
    granted = re.findall(r"^GRANT (.*) ON (\w+)\.\* TO (\w+)@'%';$", text, re.MULTILINE)
    assert {user for *_, user in granted} == set(made)
    assert {user for rights, _, user in granted if rights == "SELECT"} == {"rounds", "grafana"}
    assert {database for _, database, _ in granted} == {pipeline_writer.DATABASE}
    assert made[pipeline_writer.USER] == pipeline_writer.PASSWORD
    source = yaml.safe_load((ROOT / "exporter" / "demo.yml").read_text(encoding="utf-8"))["sources"]["apr"]
    assert made[source["user"]] == source["password"]
    # What those of PostgreSQL may is tried in tests/demo/test_clinic.py.
    (mount,) = service(DEMO, "postgres")["volumes"]
    text = (ROOT / mount["source"]).read_text(encoding="utf-8")
    assert Path(mount["target"]).parent == Path("/docker-entrypoint-initdb.d")
    made = dict(re.findall(r"^CREATE ROLE (\w+) LOGIN PASSWORD '(\w+)'", text, re.MULTILINE))
    source = yaml.safe_load((ROOT / "exporter" / "demo.yml").read_text(encoding="utf-8"))["sources"]["syncs"]
    assert {source["user"]: source["password"], clinic_writer.USER: clinic_writer.PASSWORD}.items() <= made.items()
    assert set(made) == {"rounds", "grafana", clinic_writer.USER}
    # Nobody comes from elsewhere.
    assert not [name for name in ("mariadb", "postgres") if "ports" in service(DEMO, name)]


def test_the_build_sees_what_it_copies_and_no_secret() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in ignored if line and not line.startswith("#")]
    assert rules[0] == "*"
    seen = {line.removeprefix("!") for line in rules if line.startswith("!")}
    files = "".join(DOCKERFILES.values())
    copies = re.findall(r"^COPY (?!--from)(.*) \S+$", files, re.MULTILINE)
    copied = {word for line in copies for word in line.split() if not word.startswith("--")}
    assert {each for each in copied if not any(Path(other) in Path(each).parents for other in seen)} == seen
    assert all((ROOT / name).exists() for name in seen)


@pytest.mark.parametrize(("file", "name"), WHOLE)
def test_privileges(file: str, name: str) -> None:
    definition = service(file, name)
    user, _, _ = definition["user"].partition(":")
    assert int(user) > 0
    assert definition["read_only"] is True
    assert definition["cap_drop"] == ["ALL"]
    assert definition["security_opt"] == ["no-new-privileges:true"]
    assert not {"cap_add", "privileged", "devices", "pid", "ipc", "userns_mode"} & set(definition)
    assert definition.get("network_mode", "none") == "none"
    assert "docker.sock" not in json.dumps(definition)


@pytest.mark.parametrize(("file", "name"), WHOLE)
def test_limits(file: str, name: str) -> None:
    definition = service(file, name)
    assert re.fullmatch(r"\d+[mg]", definition["mem_limit"])
    assert definition["pids_limit"] > 0
    assert definition["logging"]["options"]["max-size"]


@pytest.mark.parametrize(("file", "name"), WHOLE)
def test_what_runs_has_a_health_check_and_is_started_again(file: str, name: str) -> None:
    definition = service(file, name)
    if once(definition):
        assert "healthcheck" not in definition
        return
    assert definition["restart"] == "unless-stopped"
    check = definition["healthcheck"]
    if name == "mimir":
        assert check == {"disable": True}, "its image holds one program, which asks nobody"
        return
    assert check["test"][0] == "CMD"
    assert {"interval", "timeout", "retries", "start_period"} <= set(check)
    assert parse_duration(check["timeout"]) < parse_duration(check["interval"])
    # Not known to engines before 25.
    assert "start_interval" not in check
    # The name can be ::1 alone.
    assert "localhost" not in " ".join(check["test"])


@pytest.mark.parametrize(("file", "name"), DEFINED)
def test_ports_are_on_loopback_and_can_be_chosen(file: str, name: str) -> None:
    for port in service(file, name).get("ports", []):
        variable = re.fullmatch(r"127\.0\.0\.1:\$\{(\w+):-\d+\}:\d+", port)
        assert variable, port
        assert variable[1] in (PORTS if file in (BASE, DEMO) else OVERLAY_PORTS)


def test_no_two_ports_are_the_same() -> None:
    ports = [port for file, name in DEFINED for port in service(file, name).get("ports", [])]
    published = [re.sub(r".*:-(\d+)\}.*", r"\1", port) for port in ports]
    assert len(set(published)) == len(published) == len(PORTS) + len(OVERLAY_PORTS)
    # What the default configuration looks for on this machine must find room there.
    checks = yaml.safe_load((ROOT / "exporter" / "rounds.yml").read_text(encoding="utf-8"))["services"]["checks"]
    assert not set(published) & {re.sub(r".*:(\d+)/.*", r"\1", check["url"]) for check in checks}


def chosen(source: str) -> list[str]:
    """What the source of a mount can be: such a variable is part of some."""
    found = [source]
    for name, kinds in CHOICES.items():
        variable = f"${{{name.upper()}_KIND:-none}}"
        found = [each.replace(variable, kind) for each in found for kind in (kinds if variable in each else [""])]
    for name, kinds in SOURCES.items():
        variable = f"${{{name.upper()}_SOURCE:-none}}"
        found = [each.replace(variable, kind) for each in found for kind in (kinds if variable in each else [""])]
    # A file of nobody's checkout.
    return [each.replace("${SNOWFLAKE_KEY_FILE:-/dev/null}", "/dev/null") for each in found]


@pytest.mark.parametrize("name", CHOICES)
def test_what_else_grafana_shows_is_chosen_by_one_variable(name: str) -> None:
    mounted = {mount["target"]: mount["source"] for mount in service(BASE, "grafana")["volumes"]}
    folder = mounted[f"/etc/grafana/dashboards/{name}"]
    over = f"/etc/grafana/provisioning/datasources/{name}.yml"
    assert mounted[over] == f"{folder}/datasource.yml"
    # A folder must be there to be mounted over, and hold nothing that is hidden then.
    assert [each.name for each in (ROOT / "grafana/dashboards" / name).iterdir()] == [".gitkeep"]
    assert "none" in CHOICES[name]
    assert chosen(folder) == [f"./grafana/{name}/{kind}" for kind in CHOICES[name]]
    # A file is put over another one, since in a folder that cannot be written none can be made.
    assert (ROOT / f"grafana/provisioning/datasources/{name}.yml").is_file()
    # What the data source is told by the environment is passed on.
    passed = service(BASE, "grafana")["environment"]
    for kind in CHOICES[name]:
        text = (ROOT / "grafana" / name / kind / "datasource.yml").read_text(encoding="utf-8")
        assert set(re.findall(r"\$(\w+)", text)) <= set(passed)


@pytest.mark.parametrize(("file", "name"), DEFINED)
def test_mounts(file: str, name: str) -> None:
    for mount in service(file, name).get("volumes", []):
        if mount["type"] == "volume":
            assert mount["source"] in VOLUMES
            continue
        assert mount["type"] == "bind"
        assert mount["read_only"] is True
        # Else a missing folder is made, by root, and what is mounted is empty.
        assert mount["bind"] == {"create_host_path": False}
        for source in chosen(mount["source"]):
            assert (ROOT / source).exists(), source


def test_every_volume_is_used_and_written_by_one_service() -> None:
    writers: dict[str, set[str]] = {volume: set() for volume in VOLUMES}
    for file, name in DEFINED:
        for mount in service(file, name).get("volumes", []):
            if mount["type"] == "volume" and not mount.get("read_only"):
                writers[mount["source"]].add(name)
    # One file or the other.
    assert writers.pop("history") == {"history-volume", "victoriametrics", "mimir"}
    # A standby reads the salt.
    assert writers.pop("rounds-state") == {"exporter", "exporter-2"}
    assert {volume: len(names) for volume, names in writers.items()} == dict.fromkeys(writers, 1)


def test_everything_for_grafana_is_mounted() -> None:
    mounted = {mount["source"]: mount["target"] for mount in service(BASE, "grafana")["volumes"]}
    home = service(BASE, "grafana")["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"/etc/grafana/dashboards/Rounds/{kit.HOME}.json"
    assert (ROOT / "grafana" / home.removeprefix("/etc/grafana/")).is_file()
    # It serves what is in this folder of its image.
    assert mounted["./docs/runbooks"] == f"/usr/share/grafana{kit.RUNBOOKS.rstrip('/')}"
    for folder in (ROOT / "grafana" / "provisioning").iterdir():
        assert mounted[f"./grafana/provisioning/{folder.name}"] == f"/etc/grafana/provisioning/{folder.name}"
    for file in (ROOT / "grafana" / "provisioning" / "dashboards").glob("*.y*ml"):
        for provider in yaml.safe_load(file.read_text(encoding="utf-8"))["providers"]:
            assert provider["options"]["path"] == mounted["./grafana/dashboards"]


@pytest.mark.parametrize(("file", "name"), DEFINED)
def test_dependencies_have_conditions(file: str, name: str) -> None:
    everything = {**FILES[file]["services"], **FILES[BASE]["services"]}
    for needed, how in service(file, name).get("depends_on", {}).items():
        expected = (
            {"service_completed_successfully"} if once(everything[needed]) else {"service_healthy", "service_started"}
        )
        assert how["condition"] in expected


def test_what_prometheus_asks_is_a_service() -> None:
    tree = yaml.safe_load((ROOT / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    jobs = [*tree["scrape_configs"], *tree["alerting"]["alertmanagers"]]
    for target in (each for job in jobs for group in job["static_configs"] for each in group["targets"]):
        host, _, port = target.partition(":")
        container = FILES[BASE]["services"]["prometheus" if host == "127.0.0.1" else host]
        assert any(published.endswith(f":{port}") for published in container["ports"]), target


def test_history_is_as_long_as_rules_look_back() -> None:
    commands = [service(file, "prometheus")["command"] for file in FILES]
    for command in commands:
        (retention,) = (flag for flag in command if "retention.time" in flag)
        assert retention == "--storage.tsdb.retention.time=${PROMETHEUS_RETENTION:-31d}"
    # The others differ in their configuration alone.
    base, *others = ([flag for flag in command if "config.file" not in flag] for command in commands)
    assert others == [base] * len(others)


def test_no_password_has_a_default() -> None:
    for name, defaults in variables().items():
        if re.search(r"PASSWORD|SECRET|TOKEN|WEBHOOK|KEY", name):
            assert defaults == {"/dev/null" if name == "SNOWFLAKE_KEY_FILE" else ""}, name
    for file, name in DEFINED:
        for key, value in service(file, name).get("environment", {}).items():
            if key == "MARIADB_RANDOM_ROOT_PASSWORD":
                assert value == "yes"
            elif re.search(r"PASSWORD|SECRET|TOKEN|KEY", key):
                assert value.startswith(("${", "/")), key
    for line in SETTINGS.splitlines():
        if re.match(r"\w*(PASSWORD|WEBHOOK|TOKEN|KEY)\w*=", line):
            assert line.endswith("="), line


def test_settings_are_passed_on_and_described() -> None:
    described = set(re.findall(r"^#? ?([A-Z][A-Z0-9_]+)=", SETTINGS, re.MULTILINE))
    # Compose's own.
    assert set(variables()) == described - {"COMPOSE_FILE"}
    passed = service(BASE, "alertmanager-config")["environment"]
    source = (ROOT / "alertmanager" / "render.py").read_text(encoding="utf-8")
    names = re.findall(r'"([A-Z_]+)"', source.partition("VARIABLES = (")[2].partition(")")[0])
    assert passed == {name: f"${{{name}:-}}" for name in names}


def test_the_demo_is_a_project_of_its_own() -> None:
    """Its history must not become production's."""
    assert FILES[BASE]["name"] != FILES[DEMO]["name"]


def test_links_of_the_demo_lead_to_grafana() -> None:
    """Two places must name the same address."""
    (flag,) = (each for each in service(DEMO, "alertmanager-config")["command"] if each.startswith("--grafana="))
    root = service(BASE, "grafana")["environment"]["GF_SERVER_ROOT_URL"]
    assert root == "${GRAFANA_URL:-" + flag.removeprefix("--grafana=") + "}"


def test_addresses_of_the_catchers_are_services() -> None:
    command = service(DEMO, "alertmanager-config")["command"]
    flags = dict(each.lstrip("-").split("=", 1) for each in command if each.startswith("--"))
    assert urlsplit(flags["slack"]).hostname in FILES[DEMO]["services"]
    assert flags["mail"].partition(":")[0] in FILES[DEMO]["services"]
    assert service(DEMO, "exporter")["environment"]["SERVICES_HOST"] in FILES[DEMO]["services"]


def test_both_exporters_of_a_pair_are_the_one_of_the_base() -> None:
    pair, base = FILES["deploy/compose/exporter-pair.yml"]["services"], service(BASE, "exporter")
    for member in (pair["exporter"], pair["exporter-2"]):
        assert member["environment"].items() >= base["environment"].items()
        assert [mount for mount in base["volumes"] if mount not in member["volumes"]] == []
        assert [flag for flag in member["command"] if "ledger.yml" not in flag] == base["command"]
    for key in ("user", "extra_hosts", "tmpfs", "mem_limit", "healthcheck"):
        assert pair["exporter-2"][key] == base[key]


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_that_env_chooses_makes_a_configuration(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing but what .env.example says that it needs; and what is left out is told."""
    passed = service(BASE, "exporter")["environment"]
    mounted = {mount["target"]: mount["source"] for mount in service(BASE, "exporter")["volumes"]}
    place = f"/etc/rounds/{name}.yml"
    assert f"--config.file={place}" in service(BASE, "exporter")["command"]
    sections = {domain.name: domain.section for domain in all_domains()}
    for source, kind in zip(chosen(mounted[place]), SOURCES[name], strict=True):
        file = ROOT / source
        text = file.read_text(encoding="utf-8")
        assert set(re.findall(r"\$\{(\w+)", text)) <= set(passed)
        empty = dict.fromkeys(passed, "")
        if kind == "none":
            config: Any = load_config([ROOT / "exporter" / "rounds.yml", file], sections, empty)
            assert getattr(config, name) is None
            continue
        needed = set(re.findall(r"\$\{(\w+)\}", text))
        filled = dict.fromkeys(needed, "given")
        # The file of the key is mounted, and not here.
        key = kind == "snowflake-key"
        if not key:
            config = load_config([ROOT / "exporter" / "rounds.yml", file], sections, empty | filled)
            assert getattr(config, name)
            assert config.services
        with pytest.raises(ConfigError) as refused:
            load_config([file], sections, empty)
        assert any("should not be empty" in each for each in refused.value.problems)


@pytest.mark.parametrize("files", [(BASE,), (BASE, DEMO), *((BASE, each) for each in OVERLAYS), (BASE, *ALL_AT_ONCE)])
def test_compose_takes_the_files(files: tuple[str, ...]) -> None:
    require_compose()
    Stack(ROOT, files, "rounds-test").run("config", "--quiet")


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("SMTP_PASSWORD='a$b #c \"d\" ${HOME} e\\f'", 'a$b #c "d" ${HOME} e\\f'),
        (r"SMTP_PASSWORD='it\'s'", "it's"),
        (r'SMTP_PASSWORD="it\'s"', r"it\'s"),
        (r'SMTP_PASSWORD="a\$b"', "a$b"),
        ("SMTP_PASSWORD=a#b", "a#b"),
        # What single quotes are for.
        ("SMTP_PASSWORD=a #b", "a"),
        ("SMTP_PASSWORD=a$UNKNOWN", "a"),
    ],
)
def test_values_in_env(line: str, value: str, tmp_path: Path) -> None:
    require_compose()
    (tmp_path / BASE).write_text((ROOT / BASE).read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / ".env").write_text(f"{line}\n", encoding="utf-8")
    shown = json.loads(Stack(tmp_path, (BASE,), "rounds-test").run("config", "--format", "json").stdout)
    found = shown["services"]["alertmanager-config"]["environment"]["SMTP_PASSWORD"]
    # What it prints can be read as a compose file again, so each $ is doubled.
    assert found.replace("$$", "$") == value


def test_pairs_of_files_keep_their_common_parts_alike() -> None:
    """YAML's anchors end with the file, so the demo repeats what the base says about every container."""
    for key in ("read_only", "cap_drop", "security_opt", "pids_limit", "logging"):
        values = [service(file, name)[key] for file, name in WHOLE]
        assert all(one == other for one, other in pairwise(values)), key
