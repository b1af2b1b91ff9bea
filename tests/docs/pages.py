"""The pages that users read: their commands, their links, their headings."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rounds.reference import anchor

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))

#: Fences whose blocks hold commands. What holds none, such as output or a diagram, is fenced as ``text``.
SHELLS = ("", "sh", "bash", "shell", "console")
_ENDS = {"for": "done", "while": "done", "until": "done", "if": "fi", "case": "esac"}
_FENCE = re.compile(r"^(?P<indent> *)(?P<marks>`{3,}|~{3,})(?P<language>[\w-]*)")
_HERE = re.compile(r"<<-?\s*(['\"]?)(\w+)\1")


@dataclass(frozen=True)
class Block:
    """A fenced block; ``line`` is that of its first line."""

    page: Path
    line: int
    language: str
    text: str


@dataclass(frozen=True)
class Command:
    """One command of a page, with its continuation lines."""

    page: Path
    line: int
    text: str

    @property
    def where(self) -> str:
        """``file:line``."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def plain(self) -> str:
        """The text as it were if the environment that its programs are in were active."""
        return re.sub(r"(^|\s)[\w./-]*bin/(rounds|pip|python3?)\b", r"\1\2", self.text)

    @property
    def words(self) -> list[str]:
        """The words of :attr:`plain`, without comments."""
        return shlex.split(self.plain.replace("\\\n", " "), comments=True)

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, without their indentation."""
    lines = page.read_text(encoding="utf-8").splitlines()
    at = 0
    while at < len(lines):
        fence = _FENCE.match(lines[at])
        at += 1
        if not fence:
            continue
        first = at
        while at < len(lines) and lines[at].strip() != fence["marks"]:
            at += 1
        indent = len(fence["indent"])
        yield Block(page, first + 1, fence["language"], "\n".join(line[indent:] for line in lines[first:at]) + "\n")
        at += 1


def commands(page: Path) -> Iterator[Command]:
    """The commands of a page's shell blocks, in order."""
    for block in blocks(page):
        if block.language in SHELLS:
            yield from _split(block)


def _split(block: Block) -> Iterator[Command]:
    lines = block.text.splitlines()
    at = 0
    while at < len(lines):
        first, text = at, lines[at].removeprefix("$ ")
        at += 1
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        end = _ENDS.get(text.split()[0])
        here = _HERE.search(text)
        while at < len(lines) and (
            text.endswith("\\")
            or (end and lines[at - 1].strip() != end)
            or (here and lines[at - 1].strip() != here[2])
            or (not here and _open_quote(text))
        ):
            text += "\n" + lines[at]
            at += 1
        yield Command(block.page, block.line + first, text)


def _open_quote(text: str) -> bool:
    quote = ""
    for character, before in zip(text, " " + text, strict=False):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"" and before != "\\":
            quote = character
        elif character == "#" and before.isspace():
            return False
    return bool(quote)


def spans(page: Path) -> Iterator[Command]:
    """Code within the lines of a page, outside of blocks, each as a command would be."""
    text = page.read_text(encoding="utf-8")
    for block in blocks(page):
        text = text.replace(block.text, "\n" * block.text.count("\n"))
    for found in re.finditer(r"(?<!`)`([^`]+)`(?!`)", text):
        # A line of a table has its bars escaped.
        code = " ".join(found[1].replace("\\|", "|").split())
        yield Command(page, text.count("\n", 0, found.start()) + 1, code)


def links(page: Path) -> Iterator[Command]:
    """Where links within the repository lead, as they are written."""
    text = page.read_text(encoding="utf-8")
    for block in blocks(page):
        text = text.replace(block.text, "\n" * block.text.count("\n"))
    text = re.sub(r"(?<!`)`[^`\n]+`(?!`)", lambda found: "x" * len(found[0]), text)
    for found in re.finditer(r"\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)|(?:src|href)=\"([^\"]+)\"", text, re.MULTILINE):
        target = next(each for each in found.groups() if each)
        if not re.match(r"[a-z]+:", target):
            yield Command(page, text.count("\n", 0, found.start()) + 1, target)


def anchors(page: Path) -> set[str]:
    """The fragments of a page: its headings, numbered where they come again."""
    text = page.read_text(encoding="utf-8")
    for block in blocks(page):
        text = text.replace(block.text, "\n")
    seen: Counter[str] = Counter()
    found = set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", text))
    for heading in re.findall(r"^#+ +(.+?) *#*$", text, re.MULTILINE):
        name = anchor(re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", heading).replace("`", ""))
        found.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found


def of_pages(find: object, pages: Sequence[Path] = PAGES) -> list[Command]:
    """All that one of the functions above finds."""
    return [each for page in pages for each in find(page)]  # type: ignore[operator]
