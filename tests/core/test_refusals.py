"""Broken configurations: each gives one located message, exit code 2, no traceback and no secret."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from rounds.cli import main

SECRET = "s3cr3t-never-shown"

CHECKS = """\
services:
  checks:
    - name: a
      url: http://127.0.0.1/health
"""

APP = """\
sources:
  app: {kind: sqlite, path: monitoring.db}
emr:
  - name: a
    source: app
"""

#: Name: (text, line, path, message). `SECRET` stands for a secret, `FOLDER` for the folder of the file.
BROKEN: dict[str, tuple[str, int, str, str]] = {
    "unknown section": ("servces: {}\n", 1, "servces", "unknown key; did you mean 'services'?"),
    "unknown key": (CHECKS + "      timout: 3s\n", 5, "services.checks[0].timout", "did you mean 'timeout'?"),
    "unknown key far from any": (CHECKS + "      zzz: 3s\n", 5, "services.checks[0].zzz", "unknown key"),
    "unknown default": (
        "services:\n  defaults: {intervall: 3s}\n" + CHECKS.partition("\n")[2],
        2,
        "services.defaults.intervall",
        "did you mean 'interval'?",
    ),
    "no mapping": ("- services\n", 1, "", "must hold a mapping"),
    "empty file": ("", 1, "", "must hold a mapping"),
    "bad YAML": ("services: {checks: [\n", 2, "", "is not valid YAML"),
    "control character": ("services: \x07\n", 1, "", "special characters are not allowed"),
    "tab": ("services:\n\tchecks: []\n", 2, "", "is not valid YAML"),
    "key twice": (CHECKS + "      name: b\n", 5, "services.checks[0].name", "is given twice; first on line 3"),
    "python object": ("services: !!python/object:os.system {}\n", 1, "services", "which is not known"),
    "section is text": ("services: yes please\n", 1, "services", "should be a mapping"),
    "no checks": ("services: {}\n", 1, "services", "checks: is required"),
    "empty checks": ("services:\n  checks: []\n", 2, "services.checks", "at least 1 item"),
    "checks is a mapping": ("services:\n  checks: {a: b}\n", 2, "services.checks", "should be a list"),
    "no name": ("services:\n  checks:\n    - url: http://x/\n", 3, "services.checks[0]", "name: is required"),
    "no url": ("services:\n  checks:\n    - name: a\n", 3, "services.checks[0]", "url: is required"),
    "name with spaces": (
        "services:\n  checks:\n    - {name: a b, url: 'http://x/'}\n",
        3,
        "services.checks[0].name",
        "short name",
    ),
    "name is a number": ("services:\n  checks:\n    - {name: 7, url: x}\n", 3, "services.checks[0].name", "quotes"),
    "duplicate name": (
        CHECKS + "    - name: a\n      url: http://127.0.0.1/other\n",
        5,
        "services.checks[1].name",
        "the name a is taken by checks[0]",
    ),
    "duration without unit": (CHECKS + "      timeout: 3\n", 5, "services.checks[0].timeout", "write 3s"),
    "bad duration": (CHECKS + "      interval: soon\n", 5, "services.checks[0].interval", "such as 15s"),
    "zero duration": (CHECKS + "      interval: 0s\n", 5, "services.checks[0].interval", "longer than zero"),
    "negative duration": (CHECKS + "      interval: -5s\n", 5, "services.checks[0].interval", "such as 15s"),
    "timeout longer than interval": (
        CHECKS + "      interval: 5s\n      timeout: 6s\n",
        6,
        "services.checks[0].timeout",
        "the timeout 6s is longer than the interval 5s",
    ),
    "thresholds in the wrong order": (
        CHECKS + "      degraded_after: 5s\n",
        5,
        "services.checks[0].degraded_after",
        "should be shorter than down_after 5s",
    ),
    "bad scheme": ("services:\n  checks:\n    - {name: a, url: 'ftp://x/'}\n", 3, "services.checks[0].url", "http://"),
    "URL without host": (
        "services:\n  checks:\n    - {name: a, url: 'http:///x'}\n",
        3,
        "services.checks[0].url",
        "URL",
    ),
    "URL with a bad port": (
        "services:\n  checks:\n    - {name: a, url: 'http://x:99999/'}\n",
        3,
        "services.checks[0].url",
        "is not a URL",
    ),
    "URL with a password": (
        f"services:\n  checks:\n    - {{name: a, url: 'http://u:{SECRET}@x/'}}\n",
        3,
        "services.checks[0].url",
        "should hold no user or password",
    ),
    "bad regex": (CHECKS + "      body_matches: ['a(']\n", 5, "services.checks[0].body_matches[0]", "missing )"),
    "regex beyond RE2": (CHECKS + "      body_matches: ['(?=a)']\n", 5, "services.checks[0].body_matches[0]", "RE2"),
    "bad JMESPath": (CHECKS + "      json_matches: ['a ==']\n", 5, "services.checks[0].json_matches[0]", "JMESPath"),
    "bad status": (CHECKS + "      expect_status: [2000]\n", 5, "services.checks[0].expect_status[0]", "status code"),
    "truth value for a number": (
        CHECKS + "      max_body_bytes: true\n",
        5,
        "services.checks[0].max_body_bytes",
        "whole number",
    ),
    "number out of range": (CHECKS + "      max_redirects: 99\n", 5, "services.checks[0].max_redirects", "20"),
    "not one of": (CHECKS + "      connection: pooled\n", 5, "services.checks[0].connection", "'fresh' or 'reuse'"),
    "unknown kind": (CHECKS + "      kind: icmp\n", 3, "services.checks[0]", "one of http, tcp"),
    "key of another kind": (
        "services:\n  checks:\n    - {name: a, kind: tcp, host: x, port: 1, method: GET}\n",
        3,
        "services.checks[0].method",
        "unknown key",
    ),
    "label not declared": (CHECKS + "      labels: {team: x}\n", 5, "services.checks[0].labels.team", "not declared"),
    "label is taken": ("services:\n  labels: [state]\n" + CHECKS.partition("\n")[2], 2, "services.labels[0]", "taken"),
    "label is no name": (
        "services:\n  labels: [a-b]\n" + CHECKS.partition("\n")[2],
        2,
        "services.labels[0]",
        "letters",
    ),
    "missing variable": (
        "services:\n  checks:\n    - {name: a, url: 'http://${NO_SUCH_HOST}/'}\n",
        3,
        "services.checks[0].url",
        "environment variable NO_SUCH_HOST is not set",
    ),
    "broken variable": (CHECKS + "      headers: {X-A: '${A-B}'}\n", 5, "services.checks[0].headers.X-A", "$${"),
    "unreadable secret": (
        CHECKS + "      bearer_token_file: nowhere.txt\n",
        5,
        "services.checks[0].bearer_token_file",
        "nowhere.txt cannot be read: No such file or directory",
    ),
    "empty secret": (
        CHECKS + "      bearer_token_file: empty.txt\n",
        5,
        "services.checks[0].bearer_token_file",
        "empty",
    ),
    "secret is a folder": (
        CHECKS + "      bearer_token_file: .\n",
        5,
        "services.checks[0].bearer_token_file",
        "Is a directory",
    ),
    "two passwords": (
        CHECKS + f"      basic_auth: {{username: u, password: {SECRET}, password_file: secret.txt}}\n",
        5,
        "services.checks[0].basic_auth",
        "password_file: cannot stand beside password",
    ),
    "two ways to log in": (
        CHECKS + f"      basic_auth: {{username: u, password: {SECRET}}}\n      bearer_token: {SECRET}\n",
        6,
        "services.checks[0].bearer_token",
        "cannot stand beside basic_auth",
    ),
    "password is a number": (
        CHECKS + "      basic_auth: {username: u, password: 1234567}\n",
        5,
        "services.checks[0].basic_auth.password",
        "should be text; put it in quotes",
    ),
    "header with a line break": (
        CHECKS + f'      headers: {{X-Key: "{SECRET}\\r\\nX-Other: y"}}\n',
        5,
        "services.checks[0].headers.X-Key",
        "holds a line break",
    ),
    "token with a line break": (
        CHECKS + f'      bearer_token: "{SECRET}\\n{SECRET}"\n',
        5,
        "services.checks[0].bearer_token",
        "holds a line break",
    ),
    "host that is no name": (
        "services:\n  checks:\n    - {name: a, url: 'http://xn--\u00fc-/'}\n",
        3,
        "services.checks[0].url",
        "is not a URL",
    ),
    "header that is no name": (
        CHECKS + "      headers: {'X Key': y}\n",
        5,
        "services.checks[0].headers.X Key",
        "is not the name of a header",
    ),
    "no certificate": (
        CHECKS + "      tls: {ca_file: secret.txt}\n",
        5,
        "services.checks[0].tls",
        "ca_file: holds no certificate",
    ),
    "key without certificate": (
        CHECKS + "      tls: {key_file: secret.txt}\n",
        5,
        "services.checks[0].tls",
        "key_file: needs cert_file",
    ),
    "source without kind": ("sources:\n  db: {host: x}\n", 2, "sources.db", "needs the key kind"),
    "source of unknown kind": ("sources:\n  db: {kind: oracle}\n", 2, "sources.db", "one of mariadb, postgresql"),
    "source with a bad port": (
        "sources:\n  db: {kind: mariadb, host: x, user: u, database: d, port: 70000}\n",
        2,
        "sources.db.port",
        "65535",
    ),
    "sync over HTTP without an endpoint": (
        "sources:\n  api: {kind: http, url: 'http://a'}\nsyncs:\n  - {name: a, source: api}\n",
        4,
        "syncs[0].source",
        "is of kind http, which needs the key api beside it",
    ),
    "sync over HTTP without organisations": (
        "sources:\n  api: {kind: http, url: 'http://a'}\nsyncs:\n  - {name: a, source: api, api: logs}\n",
        4,
        "syncs[0].api",
        "needs organizations.only",
    ),
    "application in another database": (
        "sources:\n  a: {kind: mariadb, host: x, user: u, database: d}\nemr:\n  - {name: a, source: a}\n",
        4,
        "emr[0].source",
        "is of kind mariadb; it should be sqlite",
    ),
    "application twice": (
        APP + "  - {name: a, source: app}\n",
        6,
        "emr[1].name",
        "is the name of another one",
    ),
    "backups nowhere": (APP + "    checks:\n      backup: {max_age: 1d}\n", 7, "emr[0].checks.backup", "one of folder"),
    "mistake in one backup of several": (
        APP + "    checks:\n      backup:\n        - {folder: x}\n        - {folder: y, name: y, max_ag: 1d}\n",
        9,
        "emr[0].checks.backup[1].max_ag",
        "did you mean 'max_age'?",
    ),
    "generation without a model": (
        APP + "    checks: {llm: {generate_every: 5m}}\n",
        6,
        "emr[0].checks.llm.generate_every",
        "needs model",
    ),
    "source without a way in": (
        "sources:\n  wh: {kind: snowflake, account: a, user: u}\n",
        2,
        "sources.wh",
        "needs a way to log in",
    ),
    "alias to itself": ("services: &a\n  checks: *a\n", 1, "services.checks", "contains itself"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.txt").write_text(SECRET + "\n")
    (tmp_path / "empty.txt").write_text("\n")
    return tmp_path


def refusal(file: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["check-config", f"--config.file={file}"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_gives_one_located_message(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, line, path, message = BROKEN[name]
    file = folder / "rounds.yml"
    file.write_text(text)
    error = refusal(file, capsys)
    assert error.count("\n") == 1, error
    _, _, rest = error.strip().partition(f"rounds.yml:{line}: ")
    assert rest, f"{error!r} does not name line {line}"
    assert rest.startswith(path)
    assert message in rest
    assert SECRET not in error
    assert not re.search(r"Traceback|pydantic|type=", error)


def test_there_are_at_least_forty() -> None:
    assert len(BROKEN) >= 40


def test_every_problem_is_told_at_once_in_the_order_of_the_lines(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder / "rounds.yml"
    file.write_text(CHECKS + "      timout: 1s\n      method: get it\n    - name: b\n")
    lines = refusal(file, capsys).splitlines()
    assert [line.split(":")[1] for line in lines] == ["5", "6", "7"]


def test_a_missing_file_says_how_to_name_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "name the file with --config.file" in refusal(folder / "none.yml", capsys)


def test_a_file_that_is_no_text(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder / "rounds.yml"
    file.write_bytes(b"services: \xff\xfe")
    assert "is not UTF-8 text" in refusal(file, capsys)


def test_the_same_key_in_two_files_names_both_places(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one.yml", "two.yml"):
        (folder / name).write_text("\nmax_series: 5\n")
    assert main(["check-config", "--config.file=one.yml", "--config.file=two.yml"]) == 2
    assert capsys.readouterr().err == "two.yml:2: max_series: is already set at one.yml:2\n"


def test_a_broken_file_ends_run_with_2_and_no_traceback(folder: Path) -> None:
    (folder / "rounds.yml").write_text(CHECKS + f"      bearer_token: [{SECRET}]\n")
    done = subprocess.run(
        [sys.executable, "-m", "rounds", "run"], capture_output=True, text=True, check=False, cwd=folder
    )
    assert done.returncode == 2
    assert done.stderr == "rounds.yml:5: services.checks[0].bearer_token: should be text; put it in quotes\n"
