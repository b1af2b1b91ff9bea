"""What queries of a dashboard give for given series, as Prometheus' own tool evaluates them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import yaml

from grafana.lint import expanded
from support.binaries import require_binary

#: When the queries are evaluated, in seconds; series have a sample every 15 s.
AT = 7200

#: A series of an answer: its labels and value.
Row = tuple[dict[str, str], float]


def evaluated(tmp_path: Path, series: list[dict[str, str]], wanted: dict[str, list[Row]]) -> str:
    """What promtool says of queries and what they should give; nothing where all is right."""
    tests = [
        {
            "expr": expanded(expr),
            "eval_time": f"{AT}s",
            "exp_samples": [
                {
                    "labels": "{" + ",".join(f"{name}={json.dumps(text)}" for name, text in labels.items()) + "}",
                    "value": value,
                }
                for labels, value in rows
            ],
        }
        for expr, rows in wanted.items()
    ]
    (tmp_path / "rules.yml").write_text("groups: []\n", encoding="utf-8")
    file = tmp_path / "test.yml"
    case = {"interval": "15s", "input_series": series, "promql_expr_test": tests}
    file.write_text(yaml.safe_dump({"rule_files": ["rules.yml"], "tests": [case]}), encoding="utf-8")
    done = subprocess.run(
        [require_binary("promtool"), "test", "rules", str(file)], capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr
