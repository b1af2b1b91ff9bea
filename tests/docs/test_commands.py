"""Every command that the documentation shows is run as it stands, or there is a reason why not and it is checked as far
as it can be without."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.pages import PAGES, ROOT, Command, commands, of_pages, spans
from docs.parsing import wrong_words
from docs.room import Room, open_room
from docs.unrun import RUN, UNRUN, program, unrun
from support.binaries import require_binary

RUN_BY_PAGE = {page: [each for each in commands(page) if program(each) in RUN and not unrun(each)] for page in PAGES}
#: In a span a command may be told in part, with words in capitals for what is the reader's.
LEFT_OUT = ("...", "COMMAND")


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    with open_room(tmp_path_factory.mktemp("room")) as room:
        yield room


def test_every_command_is_run_or_there_is_a_reason_why_not() -> None:
    unknown = [str(each) for each in of_pages(commands) if program(each) not in RUN and not unrun(each)]
    assert not unknown, (
        "these are neither run nor is there a reason why not. Fence what is no command as text; else add the program "
        "to RUN, or how the command begins, with a reason, to UNRUN, both in tests/docs/unrun.py:\n"
        + "\n".join(unknown)
    )


def test_what_is_not_run_is_right_as_far_as_can_be_told() -> None:
    checked = [(each, reason) for each in of_pages(commands) if (reason := unrun(each))]
    assert len(checked) > 30
    wrong = [f"{each}\n    {problem}" for each, reason in checked for problem in reason.check(each)]
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    "page", [page for page, found in RUN_BY_PAGE.items() if found], ids=lambda page: str(page.relative_to(ROOT))
)
def test_the_commands_of_a_page_run(page: Path, room: Room) -> None:
    for name in {program(command) for command in RUN_BY_PAGE[page]} - {"rounds"}:
        require_binary(name)
    room.begin_page(RUN_BY_PAGE[page])
    failed = [problem for command in RUN_BY_PAGE[page] if (problem := room.run(command))]
    assert not failed, (
        "what a command needs is made in tests/docs/room.py; if it cannot be run, say why in tests/docs/unrun.py:\n"
        + "\n".join(failed)
    )


def test_every_command_of_rounds_is_one_that_its_parser_takes() -> None:
    wrong = [
        f"{each}\n    {problem}"
        for each in of_pages(commands)
        if each.plain.startswith("rounds ")
        for problem in wrong_words(each.words[1:], whole=True)
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_every_command_of_rounds_within_a_line_is_one_that_its_parser_takes() -> None:
    wrong, seen = [], 0
    for each in of_pages(spans):
        if each.text.startswith("rounds "):
            seen += 1
            words = optional(each)
            wrong += [f"{each}\n    {problem}" for problem in wrong_words(words, whole=False)]
    assert seen > 50
    assert not wrong, "\n" + "\n".join(wrong)


def optional(span: Command) -> list[str]:
    """The words of a span: those in brackets too, of alternatives the first, none behind what is left out."""
    words: list[str] = []
    skip = False
    for word in shlex.split(span.text.replace("[", " ").replace("]", " "))[1:]:
        if word in LEFT_OUT or word.rstrip(".,") in LEFT_OUT:
            break
        if word == "|":
            skip = True
        elif not skip:
            words.append(word.partition("|")[0].replace("=DATE", "=2026-01-31").replace("=DAYS", "=30"))
        else:
            skip = False
    return [
        word.replace("=DURATION", "=1h").replace("=N", "=1") if word.endswith(("=N", "=DURATION")) else word
        for word in words
    ]


def test_a_reason_is_still_needed() -> None:
    # Those that no page of this repository uses are for commands that pages of other kinds commonly have.
    assert all(each.reason for each in UNRUN)
    assert len({each.begins for each in UNRUN}) == len(UNRUN)
