"""The command itself: its forms, its exit codes, what it keeps to itself, and its page."""

from __future__ import annotations

import argparse
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rounds.cli import main
from rounds.doctor import examining
from rounds.doctor.examining import Examination, examine
from rounds.doctor.finding import GROUPS, Finding, worst
from rounds.doctor.options import arguments
from rounds.doctor.report import as_text
from rounds.doctor.rights.mariadb import Grant
from rounds.errors import CollectorError
from support.doctor import PASSWORD, REPOSITORY, Installation

PAGE = (REPOSITORY / "docs/doctor.md").read_text(encoding="utf-8")


def _sample_installation(installation: Installation) -> None:
    """What the page shows."""
    name = installation.watch_postgresql()
    installation.config["tables"][0]["name"] = "patients"
    installation.config["sources"] = {"clinic": installation.config["sources"]["postgres"]}
    installation.config["tables"][0]["source"] = "clinic"
    installation.postgresql.sql(f"GRANT INSERT, UPDATE ON patients TO {name}", database=name)
    installation.secret("postgres_password", mode=0o644)
    installation.probe("http://gateway.invalid:8000/health")
    installation.flags.append(f"--bundle={REPOSITORY}")


def _leveled(text: str) -> list[str]:
    """Lines without what differs from run to run."""
    text = text.replace("less than a second", "1 s")
    return [re.sub(r"\d+(\.\d+)*", "#", line).rstrip() for line in text.strip().splitlines()]


def test_the_page_shows_what_is_printed(installation: Installation) -> None:
    _sample_installation(installation)
    printed = installation.text()
    name = installation.config["sources"]["clinic"]["user"]
    printed = printed.replace(str(installation.folder), "/etc/rounds").replace(str(REPOSITORY), "/srv/rounds")
    printed = printed.replace(name, "rounds").replace(f"port {installation.postgresql.port}", "port 5432")
    printed = printed.replace("postgres_password", "clinic_password")
    shown = re.search(r"```text\n(configuration\n.*?)```", PAGE, re.DOTALL)
    assert shown is not None
    assert _leveled(shown[1]) == _leveled(printed), printed


def test_the_page_names_every_option_and_every_examination() -> None:
    parser = argparse.ArgumentParser()
    arguments(parser)
    options = {option for action in parser._actions for option in action.option_strings if option.startswith("--")}
    assert {option for option in options - {"--help"} if option not in PAGE} == set()
    assert {group for group in GROUPS if f"**{group}**" not in PAGE} == set()


def test_help_says_what_it_costs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert "wake no warehouse" in told
    assert "Nothing is written" in told


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--prometheus=127.0.0.1:9090"], "--prometheus: should start with http"),
        ([f"--exporter=http://a:{PASSWORD}@127.0.0.1/"], "--exporter: should hold no user or password"),
        (["--grafana-token-file=/nowhere/token"], "--grafana-token-file: /nowhere/token cannot be read"),
        (["--bundle=/nowhere"], "--bundle: /nowhere has neither"),
    ],
)
def test_wrong_use(flags: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", *flags]) == 2
    printed = capsys.readouterr()
    assert told in printed.err
    assert printed.out == ""
    assert PASSWORD not in printed.err


def test_no_secret_is_told_in_any_form(installation: Installation) -> None:
    """Neither one in the configuration, nor one in a file, nor a hash that a server gives."""
    name = installation.watch_mariadb()
    installation.mariadb.sql(f"GRANT INSERT ON *.* TO {name}@'127.0.0.1'")  # in one line with the password's hash
    installation.watch_postgresql()
    installation.config["sources"]["postgres"] = {
        **{key: value for key, value in installation.config["sources"]["postgres"].items() if key != "password_file"},
        "password": PASSWORD,
    }
    installation.probe("http://127.0.0.1/?key=hunter-3", basic_auth={"username": "a", "password": PASSWORD})
    installation.write()
    installation.file.chmod(0o644)
    hashed = installation.mariadb.sql(f"SELECT PASSWORD('{PASSWORD}')")[0][0]
    text, told = installation.text(), installation.doctor("--log.level=debug").output
    for secret in (PASSWORD, hashed, "hunter-3"):
        assert secret not in text
        assert secret not in told
    assert "a secret stands here" in text
    assert "has INSERT on *.*" in text


def test_each_examination_is_bounded_and_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(examining, "WITHIN", 0.3)
    monkeypatch.setattr(examining, "_TELL_EVERY", 0.1)
    never = threading.Event()

    def hangs() -> Iterator[Finding]:
        yield Finding("ok", "sources", "a", "came before")
        never.wait()

    def fails() -> Iterator[Finding]:
        raise ValueError(PASSWORD)
        yield

    def refuses() -> Iterator[Finding]:
        raise CollectorError("connect", "the connection was lost; look at the server")
        yield

    units = [Examination("sources", "a", hangs), Examination("ledger", "b", fails), Examination("grants", "c", refuses)]
    found = examine(units)
    never.set()
    assert [(each.level, each.subject) for each in found] == [
        ("ok", "a"),
        ("warning", "a"),
        ("warning", "b"),
        ("error", "c"),
    ]
    assert found[3].remedy == ("look at the server",)
    assert worst(found) == "error"
    printed = capsys.readouterr().err
    assert "still examining a" in printed
    assert PASSWORD not in as_text(found) + printed


@pytest.mark.parametrize(
    ("line", "grant"),
    [
        ("GRANT USAGE ON *.* TO `a`@`%` IDENTIFIED BY PASSWORD '*B6'", Grant(("USAGE",), "*.*", "`a`@`%`")),
        (
            "GRANT SELECT, INSERT (`x`, `y`), SHOW VIEW ON `my ``db`.`t` TO `a`@`%` WITH GRANT OPTION",
            Grant(("SELECT", "INSERT (`x`, `y`)", "SHOW VIEW", "GRANT OPTION"), "`my ``db`.`t`", "`a`@`%`"),
        ),
        ("GRANT EXECUTE ON PROCEDURE `d`.`p` TO 'a'@'%'", Grant(("EXECUTE",), "`d`.`p`", "'a'@'%'")),
        ("GRANT DELETE ON `d`.* TO `role`", Grant(("DELETE",), "`d`.*", "`role`")),
        ("GRANT `role` TO `a`@`%`", None),
        ("SET DEFAULT ROLE `role` FOR `a`@`%`", None),
    ],
)
def test_lines_of_show_grants(line: str, grant: Grant | None) -> None:
    assert Grant.of(line) == grant


def test_the_page_is_where_the_remedies_lead() -> None:
    """Every page that a remedy names is there."""
    for file in (REPOSITORY / "exporter/rounds/doctor").rglob("*.py"):
        for page in re.findall(r"docs/[\w-]+\.md", file.read_text(encoding="utf-8")):
            assert Path(REPOSITORY, page).exists(), page
