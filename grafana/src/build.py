"""Writes the dashboards' files, or with `--check` says which of them are not what the code makes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "grafana"
if __name__ == "__main__":  # as a script its own folder is searched, not the repository
    sys.path[:0] = [str(ROOT), str(ROOT / "exporter")]

from grafana.src import apr, apr_records, emr, exporter, journal, overview, services, syncs, syncs_history, tables  # noqa: E402 - after the path is set


def generated() -> dict[Path, str]:
    """The text of each file. Grafana makes a folder of each directory."""
    always = GRAFANA / "dashboards" / "Rounds"
    texts = {
        always / f"{module.UID}.json": module.dashboard()
        for module in (overview, services, tables, apr, syncs, emr, exporter)
    }
    for kind in journal.KINDS:
        texts[GRAFANA / "journal" / kind / "Rounds" / f"{journal.UID}.json"] = journal.dashboard(kind)
    for kind in syncs_history.KINDS:
        texts[GRAFANA / "syncs" / kind / "Rounds" / f"{syncs_history.UID}.json"] = syncs_history.dashboard(kind)
    texts[GRAFANA / "apr" / "mariadb" / "Rounds" / f"{apr_records.UID}.json"] = apr_records.dashboard()
    return texts


def differing() -> list[Path]:
    """Files that are missing, differ, or are made by no code."""
    wanted = generated()
    strangers = [file for file in sorted(GRAFANA.rglob("*.json")) if file not in wanted]
    return strangers + [
        file for file, text in wanted.items() if not file.is_file() or file.read_text(encoding="utf-8") != text
    ]


def main() -> int:
    """Write or compare; the exit code is 1 where a comparison fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    if parser.parse_args().check:
        wrong = differing()
        for file in wrong:
            print(f"{file.relative_to(ROOT)} is not what grafana/src makes: run `make dashboards`", file=sys.stderr)
        return 1 if wrong else 0
    for file, text in generated().items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        print(file.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
