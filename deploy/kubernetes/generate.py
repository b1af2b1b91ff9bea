#!/usr/bin/env python3
"""Writes what Kubernetes needs of Prometheus' rules and Grafana's dashboards, or with `--check` says what differs.

Rules become one PrometheusRule for each file, with its text unchanged but for the indentation. Dashboards are not
copied: kustomize makes a ConfigMap of each file, and grafana/kustomization.yaml lists them.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "deploy/kubernetes/monitoring"
GRAFANA = ROOT / "grafana"

_RULES = """\
# Made from prometheus/rules/{file} by `make manifests`.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: rounds-{name}
  namespace: rounds
  labels:
    app.kubernetes.io/name: rounds
spec:
"""
_MONITORING = """\
# Made by `make manifests`. Kinds of the Prometheus Operator, which must be in the cluster.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - servicemonitor.yaml
"""
_DASHBOARDS = """\
# Made by `make manifests`. A ConfigMap for each dashboard, as one holds no more than 1 MiB. What gathers dashboards for
# Grafana knows them by the label, and their folder by the annotation.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: rounds
generatorOptions:
  # Grafana is told of a change by itself.
  disableNameSuffixHash: true
  labels:
    app.kubernetes.io/name: rounds
    grafana_dashboard: "1"
  annotations:
    grafana_folder: Rounds
configMapGenerator:
"""


def generated() -> dict[Path, str]:
    """The text of each file."""
    rules = sorted((ROOT / "prometheus/rules").glob("*.yml"))
    texts = {
        MONITORING / f"rules-{file.stem}.yaml": _RULES.format(file=file.name, name=file.stem)
        + textwrap.indent(file.read_text(encoding="utf-8"), "  ")
        for file in rules
    }
    texts[MONITORING / "kustomization.yaml"] = _MONITORING + "".join(f"  - rules-{file.stem}.yaml\n" for file in rules)
    texts[GRAFANA / "kustomization.yaml"] = _DASHBOARDS + "".join(
        f"  - name: rounds-dashboard-{file.stem}\n    files: [{file.relative_to(GRAFANA)}]\n"
        for file in sorted((GRAFANA / "dashboards").rglob("*.json"))
    )
    return texts


def differing() -> list[Path]:
    """Files that are missing, differ, or are made of no rules any more."""
    wanted = generated()
    strangers = [file for file in sorted(MONITORING.glob("rules-*.yaml")) if file not in wanted]
    return strangers + [
        file for file, text in wanted.items() if not file.is_file() or file.read_text(encoding="utf-8") != text
    ]


def main() -> int:
    """Write or compare; the exit code is 1 where a comparison fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    if parser.parse_args().check:
        wrong = differing()
        for file in wrong:
            print(f"{file.relative_to(ROOT)} is not what is made of its sources: run `make manifests`", file=sys.stderr)
        return 1 if wrong else 0
    for file in differing():
        if file in generated():
            file.write_text(generated()[file], encoding="utf-8")
        else:
            file.unlink()
        print(file.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
