"""What Grafana finds when it starts."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from bundle.rules import ROOT

PROVISIONING = ROOT / "grafana" / "provisioning"
FILES = sorted(PROVISIONING.rglob("*.yml"))


def load(name: str) -> Any:
    return yaml.safe_load((PROVISIONING / name).read_text(encoding="utf-8"))


class Strict(yaml.SafeLoader):
    """Refuses a key that is given twice, of which YAML takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping whose keys differ."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"line {node.start_mark.line + 1}: a key is given twice"
        return super().construct_mapping(node, deep)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_is_strict_yaml(file: Any) -> None:
    tree = yaml.load(file.read_text(encoding="utf-8"), Loader=Strict)
    assert tree["apiVersion"] == 1
    assert "$" not in file.read_text(encoding="utf-8"), "Grafana would take it for a variable of the environment"


def test_data_sources_have_their_uids_for_ever() -> None:
    """Another uid would make Grafana stop reading the file, and cut the dashboards off."""
    sources = {
        each["uid"]: each for file in PROVISIONING.glob("datasources/*.yml") for each in load(str(file))["datasources"]
    }
    assert {uid: (each["type"], each["url"]) for uid, each in sources.items()} == {
        "prometheus": ("prometheus", "http://prometheus:9090"),
        "alertmanager": ("alertmanager", "http://alertmanager:9093"),
    }
    assert all(each["editable"] is False and each["access"] == "proxy" for each in sources.values())
    assert [uid for uid, each in sources.items() if each.get("isDefault")] == ["prometheus"]


def test_graphs_choose_their_windows_by_the_real_scrape_interval() -> None:
    config = yaml.safe_load((ROOT / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    (source,) = load("datasources/prometheus.yml")["datasources"]
    assert source["jsonData"]["timeInterval"] == config["global"]["scrape_interval"]


def test_dashboards_come_from_files_alone() -> None:
    providers = load("dashboards/rounds.yml")["providers"]
    (provider,) = providers
    assert provider["allowUiUpdates"] is False
    assert provider["options"] == {"path": "/etc/grafana/dashboards", "foldersFromFilesStructure": True}
    assert not {"folder", "folderUid"} & provider.keys(), "folders come from the files' structure"


def test_every_file_can_be_read_by_grafana() -> None:
    for file in [*FILES, *(ROOT / "grafana").rglob("*.json"), *(ROOT / "grafana").glob("*/*/datasource.yml")]:
        assert file.stat().st_mode & 0o444 == 0o444, file
