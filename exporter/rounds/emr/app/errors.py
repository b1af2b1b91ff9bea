"""What an error looks like: where it was raised, and which others are the same.

The thread that an error happens to only notes code objects and positions in them. What is costly, names, lines,
fingerprint and trace, is made of them once for each group, by the writer.
"""

from __future__ import annotations

import dis
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import CodeType, TracebackType
from typing import Any, TypeAlias

from rounds.emr.names import OTHER, label

#: What was noted of an error: its kind as by :func:`kind_of`; code, position and module of each frame, one after the
#: other, outermost first; the same of the members of an exception group; and what was called, where no frame is left.
#: It holds neither the error nor its frames, so that nothing of them is kept alive, and nothing that the collector of
#: garbage has to look at again and again.
Sight: TypeAlias = tuple[str, Sequence[Any], tuple[Any, ...], str]
#: A frame: its code, the instruction it was at, and its module's name if that is a text.
Frame: TypeAlias = tuple[CodeType, int, Any]

#: What an exception is marked with once it was captured, so that those who see it next do not count it again: how many
#: entries its traceback had then, or the fingerprint that was given. Both survive pickling.
SEEN = "__rounds_seen__"

#: Frames that are noted of the outermost ones, and of the innermost ones if there are more.
OUTER = range(50)
_INNER = 50
#: Frames that are walked through in search of the innermost ones, more than Python's own limit of recursion.
_DEEPEST = 3000
#: Errors of a group that are looked at.
_MEMBERS = 10
#: Groups and positions that are remembered; then all are forgotten, which costs time and changes nothing.
_KNOWN = 4000


@dataclass(frozen=True)
class Portrait:
    """What is stored of an error, apart from times."""

    fingerprint: str
    error_type: str
    culprit: str
    """``module:function`` that raised."""
    trace: str
    """``module:function:line`` of each frame, outermost first."""


def look(error: BaseException, trace: TracebackType | None, origin: str = "") -> Sight:
    """Note an error, from this entry of its traceback on. A quicker way is in :class:`operations.Watch`."""
    frames: list[Any] = []
    for _ in OUTER:
        if trace is None:
            break
        frame = trace.tb_frame
        frames += frame.f_code, trace.tb_lasti, frame.f_globals.get("__name__")
        trace = trace.tb_next
    else:
        add_innermost(frames, trace)
    if isinstance(error, BaseExceptionGroup):
        return kind_of(error), frames, tuple(look(each, each.__traceback__) for each in _members(error)), origin
    return kind_of(error), frames, (), origin


def add_innermost(frames: list[Any], trace: TracebackType | None) -> None:
    """Note the innermost frames from this entry on."""
    for entry in _entries(trace)[-_INNER:]:
        frame = entry.tb_frame
        frames += frame.f_code, entry.tb_lasti, frame.f_globals.get("__name__")


def seen(error: BaseException) -> bool:
    """Whether it was captured already."""
    return _mark_of(error) is not None


def _mark_of(error: BaseException) -> object:
    try:
        # Not by getattr: an exception may answer to any name.
        return error.__dict__.get(SEEN)
    except Exception:
        return None


def mark(error: BaseException, sight: Sight, fingerprint: str | None = None) -> None:
    """It is captured now. One that cannot be marked may be counted twice."""
    try:
        error.__dict__[SEEN] = fingerprint or len(sight[1]) // 3
    except Exception:
        return


def recall(error: BaseException) -> Sight | str:
    """What was noted of an error when it was captured, or the fingerprint that was given; what is to be seen now if it
    was not captured.

    Since then the frames that it passed were added to its traceback, at the outer end.
    """
    known = _mark_of(error)
    if isinstance(known, str):
        return known
    trace = error.__traceback__
    if isinstance(known, int) and 0 < known < len(OUTER) + _INNER:
        entries = _entries(trace)
        trace = entries[-known] if known <= len(entries) else error.__traceback__
    return look(error, trace)


def _entries(trace: TracebackType | None) -> list[TracebackType]:
    entries: list[TracebackType] = []
    while trace is not None and len(entries) < _DEEPEST:
        entries.append(trace)
        trace = trace.tb_next
    return entries


def _members(error: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    """The errors inside that are no groups themselves, the first few."""
    waiting: list[BaseException] = [error]
    found = 0
    while waiting and found < _MEMBERS:
        each = waiting.pop(0)
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions[:_MEMBERS]
        else:
            found += 1
            yield each


class Portraits:
    """Makes portraits, and remembers them. May be used by several threads."""

    def __init__(self) -> None:
        self._portraits: dict[tuple[object, ...], tuple[Portrait, Sight]] = {}
        self._positions: dict[tuple[int, int], tuple[str, CodeType]] = {}

    def of(self, sight: Sight) -> Portrait:
        """The portrait of what was noted."""
        key = _key(sight)
        known = self._portraits.get(key)
        if known is None:
            if len(self._portraits) >= _KNOWN:
                self._portraits.clear()
            # The sight is kept too: as long as its code lives, no other has the same id.
            known = self._portraits[key] = (self._paint(sight), sight)
        return known[0]

    def _paint(self, sight: Sight) -> Portrait:
        kind, _, _, origin = sight
        frames = _relevant(sight)
        culprit = _place(frames[-1]) if frames else label(origin)
        return Portrait(self._fingerprint(sight, frames), kind.partition(" ")[0], culprit, "\n".join(_trace(frames)))

    def _fingerprint(self, sight: Sight, frames: list[Frame]) -> str:
        kind, _, members, origin = sight
        parts = [kind]
        if not frames:
            parts.append(origin)
        # A recursion's depth is chance: each place of it is one.
        places = {(id(code), at): (code, at, module) for code, at, module in frames}
        for code, at, module in places.values():
            parts += [str(module), code.co_qualname, self._position(code, at)]
        # The order of tasks is chance as well.
        parts += sorted({self.of(member).fingerprint for member in members})
        return _hash("\0".join(parts))

    def _position(self, code: CodeType, at: int) -> str:
        known = self._positions.get((id(code), at))
        if known is None:
            if len(self._positions) >= _KNOWN:
                self._positions.clear()
            known = self._positions[id(code), at] = (position(code, at), code)
        return known[0]


def given(fingerprint: str) -> str:
    """A fingerprint of the application's own: as it is where it is a name, else hashed, as it may be about somebody."""
    return fingerprint if label(fingerprint) == fingerprint else _hash(fingerprint)


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=8).hexdigest()


def position(code: CodeType, at: int) -> str:
    """Where an instruction is in its function, in words that lines added elsewhere do not change.

    These are the names and constants that its line uses up to the instruction, and how many lines before it begin in
    the same way. Neither the line's number nor that of the instruction would outlast a change above it.
    """
    lines: dict[int | None, list[str]] = {}
    line: int | None = None
    for instruction in dis.get_instructions(code):
        if instruction.positions is not None and instruction.positions.lineno is not None:
            line = instruction.positions.lineno
        words = lines.setdefault(line, [])
        words += _words(instruction)
        if instruction.offset >= at:
            break
    here = lines.pop(line, [])
    before = sum(words[: len(here)] == here for words in lines.values())
    return "\1".join((*here, str(before)))


_NAMED = frozenset((*dis.hasname, *dis.haslocal, *dis.hasfree))
_CONSTANTS = frozenset(dis.hasconst)


def _words(instruction: dis.Instruction) -> Iterator[str]:
    value = instruction.argval
    if instruction.opcode in _NAMED:
        yield from value if isinstance(value, tuple) else (str(value),)
    elif instruction.opcode in _CONSTANTS:
        # Other constants, such as code and sets, do not look the same in each process.
        yield repr(value) if isinstance(value, str | int | float | bytes | None) else type(value).__name__


def _key(sight: Sight) -> tuple[object, ...]:
    kind, frames, members, origin = sight
    # Code is compared by all that it holds, which takes long.
    return kind, origin, *map(id, frames[::3]), *frames[1::3], *map(_key, members)


def _relevant(sight: Sight) -> list[Frame]:
    """Without those of the library, so that a decorator changes no fingerprint."""
    parts = iter(sight[1])
    return [
        frame
        for frame in zip(parts, parts, parts, strict=True)
        if not (isinstance(frame[2], str) and frame[2].startswith(_OWN))
    ]


_OWN = "rounds.emr.app."


def _place(frame: Frame) -> str:
    code, _, module = frame
    function = label(code.co_qualname)
    return f"{label(module)}:{label(code.co_name) if function == OTHER else function}"


def _trace(frames: list[Frame]) -> Iterator[str]:
    for frame in frames:
        yield f"{_place(frame)}:{_line(frame[0], frame[1])}"


def _line(code: CodeType, at: int) -> int:
    return next((line or 0 for start, end, line in code.co_lines() if start <= at < end), 0)


def kind_of(error: BaseException) -> str:
    """The kind of an exception: its label, a space, and its full name."""
    kind = type(error)
    name = type_name(kind)
    try:
        return f"{name} {kind.__module__}.{kind.__qualname__}"
    except RecursionError:
        raise
    except Exception:
        return f"{name} {OTHER}"


def type_name(kind: type[BaseException]) -> str:
    """The label of a kind of exception."""
    try:
        return label(kind.__name__)
    except RecursionError:
        # There is no room now; callers have more.
        raise
    except Exception:
        # A metaclass may do anything.
        return OTHER
