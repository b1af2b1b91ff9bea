"""The manifests hold to the schemas of their kinds, go together, and say what the other files say."""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from kubernetes_validate.utils import all_versions

from installation.operator_kinds import SCHEMAS
from rounds.cli import main
from rounds.config import load_config
from rounds.domains import all_domains
from rounds.fields import parse_duration
from support.binaries import require_binary

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/kubernetes"
#: The oldest and the newest that the schemas are known of.
VERSIONS = (all_versions()[0], all_versions()[-1])
#: What is a whole object: neither a patch nor kustomize's own file.
FILES = [
    *sorted(file for name in ("exporter", "monitoring") for file in (FOLDER / name).glob("[!k]*.yaml")),
    FOLDER / "pair/poddisruptionbudget.yaml",
]
RULES = sorted((ROOT / "prometheus/rules").glob("*.yml"))
#: The largest ConfigMap, and the largest annotations, that a cluster takes, in bytes.
LARGEST, LARGEST_ANNOTATIONS = 1024 * 1024, 256 * 1024


def load(file: Path) -> Any:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def name_of(file: Path) -> str:
    return str(file.relative_to(FOLDER).with_suffix(""))


OBJECTS: dict[str, Any] = {name_of(file): load(file) for file in FILES}
DEPLOYMENT = OBJECTS["exporter/deployment"]
POD = DEPLOYMENT["spec"]["template"]
(CONTAINER,) = POD["spec"]["containers"]
SERVICE = OBJECTS["exporter/service"]
MONITOR = OBJECTS["monitoring/servicemonitor"]


def validate(found: Any) -> None:
    """Refuse what holds to no schema."""
    if found["kind"] in SCHEMAS:
        jsonschema.Draft202012Validator(SCHEMAS[found["kind"]]).validate(found)
        return
    for version in VERSIONS:
        kubernetes_validate.validate(found, version, strict=True)


@pytest.mark.parametrize("name", OBJECTS)
def test_an_object_holds_to_its_schema(name: str) -> None:
    validate(OBJECTS[name])
    metadata = OBJECTS[name]["metadata"]
    assert metadata["labels"]["app.kubernetes.io/name"] == "rounds"
    assert metadata.get("namespace") == (None if OBJECTS[name]["kind"] == "Namespace" else "rounds")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("exporter/deployment", lambda spec: spec.update(replica=1)),
        ("exporter/deployment", lambda spec: spec["template"]["spec"]["containers"][0].update(securitycontext={})),
        ("exporter/service", lambda spec: spec["ports"][0].update(port="http")),
        ("exporter/networkpolicy", lambda spec: spec.update(policyTypes="Ingress")),
        ("monitoring/servicemonitor", lambda spec: spec["endpoints"][0].update(intervall="5s")),
        ("monitoring/servicemonitor", lambda spec: spec["endpoints"][0]["relabelings"][0].update(target_label="x")),
        ("monitoring/rules-services", lambda spec: spec["groups"][0]["rules"][0].update(keep_firing="1m")),
        ("monitoring/rules-services", lambda spec: spec["groups"][0]["rules"][0].pop("expr")),
    ],
)
def test_mistakes_are_seen(name: str, change: Callable[[Any], object]) -> None:
    broken = copy.deepcopy(OBJECTS[name])
    change(broken["spec"])
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        validate(broken)


class TestGenerated:
    def made(self) -> Any:
        specification = importlib.util.spec_from_file_location("manifests_generate", FOLDER / "generate.py")
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        return module

    def test_it_is_what_is_committed(self) -> None:
        assert self.made().differing() == [], "run: make manifests"

    def test_a_change_is_seen(self, tmp_path: Path) -> None:
        generate = self.made()
        for part in ("prometheus/rules", "deploy/kubernetes/monitoring", "grafana"):
            shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
        generate.ROOT, generate.GRAFANA = tmp_path, tmp_path / "grafana"
        generate.MONITORING = tmp_path / "deploy/kubernetes/monitoring"
        assert generate.differing() == []
        (tmp_path / "prometheus/rules/services.yml").unlink()
        (tmp_path / "grafana/dashboards/Rounds/new.json").write_text("{}", encoding="utf-8")
        assert {file.name for file in generate.differing()} == {"rules-services.yaml", "kustomization.yaml"}
        assert len(generate.differing()) == 3

    @pytest.mark.parametrize("file", RULES, ids=lambda file: file.stem)
    def test_rules_are_the_same_rules(self, file: Path, tmp_path: Path) -> None:
        made = OBJECTS[f"monitoring/rules-{file.stem}"]
        assert made["spec"] == load(file)
        extracted = tmp_path / "rules.yml"
        extracted.write_text(json.dumps(made["spec"]), encoding="utf-8")
        command = [str(require_binary("promtool")), "check", "rules", str(extracted)]
        checked = subprocess.run(command, check=False, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout + checked.stderr

    def test_every_dashboard_has_a_config_map(self) -> None:
        listed = load(ROOT / "grafana/kustomization.yaml")
        files = [name for each in listed["configMapGenerator"] for name in each["files"]]
        dashboards = sorted((ROOT / "grafana/dashboards").rglob("*.json"))
        assert files == [str(file.relative_to(ROOT / "grafana")) for file in dashboards]
        assert all(file.stat().st_size < 0.9 * LARGEST for file in dashboards)
        assert listed["generatorOptions"]["labels"]["grafana_dashboard"] == "1"
        # Those without a folder of their own would be in Grafana's general one.
        assert {file.parent.name for file in dashboards} == {
            listed["generatorOptions"]["annotations"]["grafana_folder"]
        }


class TestTogether:
    def test_the_pod_may_nothing(self) -> None:
        pod, own = POD["spec"]["securityContext"], CONTAINER["securityContext"]
        assert pod["runAsNonRoot"] is True
        assert pod["runAsUser"] == pod["runAsGroup"] == pod["fsGroup"] == 12780
        assert pod["fsGroupChangePolicy"] == "OnRootMismatch"
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
        assert own == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        for holder in (POD["spec"], OBJECTS["exporter/serviceaccount"]):
            assert holder["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(POD["spec"])
        assert CONTAINER["resources"]["limits"]["memory"]

    def test_it_is_the_image_with_its_user_port_and_command(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        assert CONTAINER["image"] == f"rounds-exporter:{project['version']}"
        dockerfile = (ROOT / "exporter/Dockerfile").read_text(encoding="utf-8")
        assert "USER 12780:12780\n" in dockerfile
        assert CONTAINER["args"] == json.loads(re.findall(r"^CMD (\[.*\])$", dockerfile, re.MULTILINE)[0])
        assert f"EXPOSE {CONTAINER['ports'][0]['containerPort']}\n" in dockerfile

    def test_one_process_has_the_ledger(self) -> None:
        assert DEPLOYMENT["spec"]["replicas"] == 1
        assert DEPLOYMENT["spec"]["strategy"] == {"type": "Recreate"}
        # The exporter ends within 10 seconds.
        assert POD["spec"]["terminationGracePeriodSeconds"] > 10

    def test_probes_ask_what_the_exporter_answers(self) -> None:
        asked = {name: CONTAINER[name]["httpGet"]["path"] for name in CONTAINER if name.endswith("Probe")}
        assert asked == {
            "startupProbe": "/-/healthy",
            "livenessProbe": "/-/healthy",
            "readinessProbe": "/-/ready",
        }

    def test_what_is_mounted_is_there(self) -> None:
        volumes = {each["name"]: each for each in POD["spec"]["volumes"]}
        mounts = {each["name"]: each["mountPath"] for each in CONTAINER["volumeMounts"]}
        assert set(volumes) == set(mounts)
        assert mounts["state"] == "/var/lib/rounds"
        claim = OBJECTS["exporter/persistentvolumeclaim"]["metadata"]["name"]
        assert volumes["state"]["persistentVolumeClaim"]["claimName"] == claim
        (config,) = load(FOLDER / "exporter/kustomization.yaml")["configMapGenerator"]
        assert volumes["config"]["configMap"]["name"] == config["name"]
        (flag,) = (word for word in CONTAINER["args"] if word.startswith("--config.file="))
        assert flag == f"--config.file={mounts['config']}/{config['files'][0]}"
        # For the owner and the group of the pod.
        assert volumes["secrets"]["secret"]["defaultMode"] == 0o440

    def test_selectors_find_what_they_are_for(self) -> None:
        labels = POD["metadata"]["labels"].items()
        assert labels >= DEPLOYMENT["spec"]["selector"]["matchLabels"].items()
        assert labels >= SERVICE["spec"]["selector"].items()
        assert labels >= OBJECTS["exporter/networkpolicy"]["spec"]["podSelector"]["matchLabels"].items()
        assert labels >= OBJECTS["pair/poddisruptionbudget"]["spec"]["selector"]["matchLabels"].items()
        assert SERVICE["metadata"]["labels"].items() >= MONITOR["spec"]["selector"]["matchLabels"].items()
        ports = {each["name"] for each in CONTAINER["ports"]}
        assert {each["targetPort"] for each in SERVICE["spec"]["ports"]} <= ports
        (endpoint,) = MONITOR["spec"]["endpoints"]
        assert endpoint["port"] in {each["name"] for each in SERVICE["spec"]["ports"]}
        ((allowed,),) = (each["ports"] for each in OBJECTS["exporter/networkpolicy"]["spec"]["ingress"])
        assert allowed["port"] in ports

    def test_prometheus_knows_it_by_the_labels_that_rules_expect(self) -> None:
        """Else no rule would ever find it, or each update would leave old series to look back at."""
        assert SERVICE["metadata"]["labels"][MONITOR["spec"]["jobLabel"]] == "rounds"
        (endpoint,) = MONITOR["spec"]["endpoints"]
        own = load(ROOT / "prometheus/prometheus.yml")["global"]
        assert endpoint["interval"] == own["scrape_interval"]
        assert parse_duration(endpoint["scrapeTimeout"]) < parse_duration(endpoint["interval"])
        labels = {"job": "rounds", "instance": "10.1.2.3:12780", "pod": "rounds-7d-x", "namespace": "rounds"}
        labels |= {"container": "exporter", "endpoint": "http", "service": "rounds"}
        assert relabelled(endpoint["relabelings"], labels) == {
            "job": "rounds",
            "instance": "rounds:12780",
            "namespace": "rounds",
            "service": "rounds",
        }

    def test_kustomizations_name_every_file(self) -> None:
        for part in ("exporter", "monitoring"):
            listed = load(FOLDER / part / "kustomization.yaml")["resources"]
            assert {FOLDER / part / name for name in listed} == {each for each in FILES if each.parent.name == part}
        for folder in (FOLDER, FOLDER / "pair"):
            for name in load(folder / "kustomization.yaml")["resources"]:
                assert (folder / name).exists(), name


def relabelled(steps: list[dict[str, str]], labels: dict[str, str]) -> dict[str, str]:
    """What the two kinds of steps that the manifests use make of a target's labels."""
    labels = dict(labels)
    for step in steps:
        if step.get("action") == "labeldrop":
            labels = {name: value for name, value in labels.items() if not re.fullmatch(step["regex"], name)}
        else:
            assert set(step) == {"targetLabel", "replacement"}
            labels[step["targetLabel"]] = step["replacement"]
    return labels


class TestConfiguration:
    def test_it_is_accepted(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["check-config", f"--config.file={FOLDER}/exporter/rounds.yml"]) == 0, capsys.readouterr().err

    def test_so_is_what_it_proposes(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        text = (FOLDER / "exporter/rounds.yml").read_text(encoding="utf-8")
        proposed = re.findall(r"^# (sources:\n(?:#.*\n)+)", text, re.MULTILINE)
        assert len(proposed) == 1
        (tmp_path / "secret").write_text("x\n", encoding="utf-8")
        example = re.sub(r"^# ?", "", proposed[0], flags=re.MULTILINE)
        assert "/run/secrets/rounds/" in example
        file = tmp_path / "rounds.yml"
        file.write_text(re.sub(r"/run/secrets/rounds/\w+", str(tmp_path / "secret"), example), encoding="utf-8")
        assert main(["check-config", f"--config.file={file}"]) == 0, capsys.readouterr().err

    def test_the_pairs_shares_a_ledger(self, tmp_path: Path) -> None:
        text = (FOLDER / "pair/rounds.yml").read_text(encoding="utf-8")
        (tmp_path / "secret").write_text("x" * 22, encoding="utf-8")
        file = tmp_path / "rounds.yml"
        file.write_text(re.sub(r"/run/secrets/rounds/\w+", str(tmp_path / "secret"), text), encoding="utf-8")
        config: Any = load_config([file], {domain.name: domain.section for domain in all_domains()})
        assert config.state.lease
        assert load(FOLDER / "exporter/rounds.yml")["services"] == load(file)["services"]


def kustomized(folder: Path) -> list[Any]:
    """What `kubectl kustomize` makes of a folder: offline, as it needs no cluster for that."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed, and no package of Debian has one that is new enough")
    ended = subprocess.run([kubectl, "kustomize", str(folder)], check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return list(yaml.load_all(ended.stdout, Loader=yaml.CSafeLoader))


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["", "exporter", "monitoring", "pair"])
def test_kustomize_makes_objects_that_hold_to_their_schemas(folder: str) -> None:
    objects = kustomized(FOLDER / folder)
    for each in objects:
        validate(each)
    names = [(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in objects]
    assert len(set(names)) == len(names)
    assert {namespace for kind, namespace, _ in names if kind != "Namespace"} == {"rounds"}
    kinds = {each["kind"] for each in objects}
    assert ("Deployment" in kinds) is (folder != "monitoring")
    assert ("ServiceMonitor" in kinds) is (folder != "exporter")
    found = {each["metadata"]["name"]: each for each in objects if each["kind"] == "ConfigMap"}
    if folder != "monitoring":
        (deployment,) = (each for each in objects if each["kind"] == "Deployment")
        (config,) = (
            each["configMap"]["name"]
            for each in deployment["spec"]["template"]["spec"]["volumes"]
            if "configMap" in each
        )
        source = FOLDER / ("pair" if folder == "pair" else "exporter") / "rounds.yml"
        assert found[config]["data"] == {"rounds.yml": source.read_text(encoding="utf-8")}
    if folder in {"", "pair"}:
        for file in sorted((ROOT / "grafana/dashboards").rglob("*.json")):
            made = found[f"rounds-dashboard-{file.stem}"]
            assert made["data"][file.name].encode() == file.read_bytes()
            assert made["metadata"]["labels"]["grafana_dashboard"] == "1"
            assert made["metadata"]["annotations"] == {"grafana_folder": "Rounds"}


@pytest.mark.slow
def test_only_dashboards_need_server_side_apply() -> None:
    """Else the annotation with a copy of the object, which client-side apply writes, is refused."""
    large = [each for each in kustomized(FOLDER) if len(json.dumps(each)) > LARGEST_ANNOTATIONS]
    assert all(each["kind"] == "ConfigMap" and "dashboard" in each["metadata"]["name"] for each in large)


@pytest.mark.slow
def test_the_pair_is_two_without_a_volume_of_their_own() -> None:
    objects = kustomized(FOLDER / "pair")
    (deployment,) = (each["spec"] for each in objects if each["kind"] == "Deployment")
    assert deployment["replicas"] == 2
    assert deployment["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
    assert not [each for each in objects if each["kind"] == "PersistentVolumeClaim"]
    volumes = {each["name"]: each for each in deployment["template"]["spec"]["volumes"]}
    assert set(volumes["state"]) == {"name", "emptyDir"}
    (monitor,) = (each["spec"] for each in objects if each["kind"] == "ServiceMonitor")
    (endpoint,) = monitor["endpoints"]
    assert {"sourceLabels": ["__meta_kubernetes_pod_name"], "targetLabel": "member"} in endpoint["relabelings"]
    assert {"targetLabel": "instance", "replacement": "rounds:12780"} in endpoint["relabelings"]
    # What is tried with a real Prometheus stands in the documentation.
    page = (ROOT / "docs/high-availability.md").read_text(encoding="utf-8")
    documented = re.findall(r"^ +metric_relabel_configs:\n((?: +.*\n)+?) *```", page, re.MULTILINE)[0]
    names = {"source_labels": "sourceLabels", "target_label": "targetLabel"}
    steps = [{names.get(key, key): value for key, value in each.items()} for each in yaml.safe_load(documented)]
    assert endpoint["metricRelabelings"] == steps
    assert monitor["jobLabel"] == MONITOR["spec"]["jobLabel"]


class TestDocumentation:
    PAGE = (ROOT / "docs/kubernetes.md").read_text(encoding="utf-8")

    def blocks(self, language: str) -> list[str]:
        return re.findall(rf"^```{language}\n(.*?)^```", self.PAGE, re.MULTILINE | re.DOTALL)

    @pytest.mark.slow
    def test_ones_own_kustomization(self, tmp_path: Path) -> None:
        (own,) = (each for each in self.blocks("yaml") if "kind: Kustomization" in each)
        (label,) = (each for each in self.blocks("yaml") if each.startswith("labels:"))
        checkout = os.path.relpath(ROOT, tmp_path)
        text = own.replace("../rounds/", f"{checkout}/") + label
        assert text != own + label
        (tmp_path / "kustomization.yaml").write_text(text, encoding="utf-8")
        (tmp_path / "rounds.yml").write_text("services: {checks: []}\n", encoding="utf-8")
        objects = kustomized(tmp_path)
        for each in objects:
            validate(each)
            assert each["metadata"]["labels"]["release"] == "kube-prometheus-stack"
        (deployment,) = (each["spec"]["template"]["spec"] for each in objects if each["kind"] == "Deployment")
        version = CONTAINER["image"].partition(":")[2]
        assert deployment["containers"][0]["image"] == f"registry.example.org/rounds-exporter:{version}"
        configs = {each["metadata"]["name"]: each["data"] for each in objects if each["kind"] == "ConfigMap"}
        (used,) = (each["configMap"]["name"] for each in deployment["volumes"] if "configMap" in each)
        assert configs[used] == {"rounds.yml": "services: {checks: []}\n"}

    def test_alertmanagers_configuration_fits_into_a_secret(self, tmp_path: Path) -> None:
        """The commands are run as they stand, but for the path and for kubectl, in place of which files are copied."""
        (commands,) = (each for each in self.blocks("sh") if "render.py" in each)
        mounted = tmp_path / "rounds-alertmanager"
        text = commands.replace("/etc/alertmanager/secrets/rounds-alertmanager", str(mounted))
        text = text.replace("alertmanager/render.py", f"{ROOT}/alertmanager/render.py").replace(
            "python3", sys.executable
        )
        flags = re.findall(r"--from-file=(\S+)", text)
        assert len(flags) == 3
        text = re.sub(r"^kubectl (.*\\\n)*.*\n", "", text, flags=re.MULTILINE).replace("rm -r rendered\n", "")
        (tmp_path / ".env").write_text(
            "SLACK_WEBHOOK_URL=http://127.0.0.1:1/x\nSMTP_HOST=127.0.0.1\nSMTP_FROM=a@example.org\nSMTP_TO=b@example.org\n"
            "SMTP_USER=a\nSMTP_PASSWORD=secret\n",
            encoding="utf-8",
        )
        subprocess.run(["sh", "-e", "-c", text], check=True, cwd=tmp_path)
        mounted.mkdir()
        for flag in flags:
            name, _, path = flag.rpartition("=")
            source = tmp_path / path
            for file in sorted(source.iterdir()) if source.is_dir() else [source]:
                shutil.copyfile(file, mounted / (name or file.name))
        config = mounted / "alertmanager.yaml"
        tree = load(config)
        assert [Path(each).parent for each in tree["templates"]] == [mounted]
        secrets = [value for key, value in tree["global"].items() if key.endswith("_file")]
        assert len(secrets) == 2
        assert all(Path(each).is_file() and Path(each).parent == mounted for each in secrets)
        checked = subprocess.run(
            [str(require_binary("amtool")), "check-config", str(config)], check=False, capture_output=True, text=True
        )
        assert checked.returncode == 0, checked.stderr
        assert f"{len(tree['templates'])} templates" in checked.stdout
