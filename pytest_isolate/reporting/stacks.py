"""The stacks of a test process as faulthandler wrote them, made readable as tracebacks are."""

from __future__ import annotations

from contextlib import suppress
from itertools import dropwhile
from itertools import takewhile
import os
import re
import stat
import tokenize
from typing import TYPE_CHECKING
from typing import Final
from typing import final

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Sequence

#: What calls a test's function or a fixture's: below these frames there is nothing of the suite's.
_CALLERS: Final = re.compile(
    r'/_pytest/(python\.py", line \d+ in pytest_pyfunc_call'
    r'|fixtures\.py", line \d+ in (call_fixture_func|_teardown_yield_fixture)'
    r'|unittest\.py", line \d+ in runtest)$'
)
_FRAME: Final = re.compile(r'  File "(?P<file>.*)", line (?P<line>\d+) in ')
#: How faulthandler writes a character that is not of ASCII.
_ESCAPED: Final = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")
_C_STACK: Final = "Current thread's C stack trace"  #: of Python 3.14 and later
_C_FRAME: Final = re.compile(r'  Binary file "(?P<file>.*)"')
_MOST_C_FRAMES: Final = 8
_C_FRAMES_WITHIN: Final = 3  #: of the interpreter, where nothing else was running

_MOST_CODE: Final = 400  #: lines of code for all stacks of a report
_LONGEST_CODE: Final = 200  #: characters of a line
_LARGEST_FILE: Final = 4 * 1024 * 1024  #: bytes
_MOST_FILES: Final = 100


def readable(stacks: str, *files: str) -> str:
    """Return faulthandler's *stacks*, those of the suite's code, with the code.

    *files* are where our own frames are that call the suite's.
    """
    return with_code(of_the_suite(stacks, *files), Sources().line)


def of_the_suite(stacks: str, *files: str) -> str:
    """Return faulthandler's *stacks*, each only down to pytest's frames, or to ours in *files*.

    A thread that is all ours is left out.
    """
    ours = [f'File "{file}"' for file in files]
    blocks = [
        _outside_interpreter(lines)
        if lines[:1] and lines[0].startswith(_C_STACK)
        else _above(lines, ours)
        for lines in (block.split("\n") for block in stacks.rstrip("\n").split("\n\n"))
    ]
    return "\n\n".join("\n".join(lines) for lines in blocks if lines)


def _above(lines: Sequence[str], ours: Sequence[str]) -> Sequence[str]:
    """Return the *lines* of a Python stack above the frames that *ours* are in."""
    kept: list[str] = []
    below = False
    for line in lines:
        below = line.startswith("  File ") and (
            below or any(one in line for one in ours) or _CALLERS.search(line) is not None
        )
        if not below:
            kept.append(line)
    return [] if len(kept) == 1 < len(lines) else kept


def _outside_interpreter(lines: Sequence[str]) -> Sequence[str]:
    """Return the *lines* of a C stack from where it crashed to where the interpreter called that.

    The first frames are of the interpreter, which writes the stack, and one is of the C library,
    which has called that for the signal.
    """
    title, *frames = lines
    binaries = [match["file"] if (match := _C_FRAME.match(line)) else "" for line in frames]
    interpreter = binaries[:1]
    rest = list(
        dropwhile(lambda pair: [pair[1]] == interpreter, zip(frames, binaries, strict=True))
    )[1:]
    crashed = [line for line, _ in takewhile(lambda pair: [pair[1]] != interpreter, rest)]
    shown = crashed[:_MOST_C_FRAMES] or [line for line, _ in rest[:_C_FRAMES_WITHIN]]
    more = ["  ..."] if len(shown) < len(rest) else []
    return [title, *shown, *more] if shown else []


def with_code(stacks: str, line_of: Callable[[str, int], str]) -> str:
    """Return *stacks* with the line of code under each frame that *line_of* knows.

    *line_of* is asked with a file's name and a line's number.
    """
    lines: list[str] = []
    told = 0
    for line in stacks.splitlines():
        lines.append(line)
        frame = _FRAME.match(line)
        if frame is None or told >= _MOST_CODE:
            continue
        code = line_of(_unescaped(frame["file"]), int(frame["line"])).strip()
        if code:
            lines.append(f"    {code[:_LONGEST_CODE]}")
            told += 1
    return "\n".join(lines)


def _unescaped(name: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[match.lastindex or 0], 16)), name)


@final
class Sources:
    """Lines of source files as they are outside of the sandbox.

    The names come from a test process, which may call its code what it likes: only regular files
    are read, and only so much of them.
    """

    def __init__(self) -> None:
        self._files: dict[str, Sequence[str]] = {}

    def line(self, file: str, number: int) -> str:
        """Return line *number* of *file*, nothing if it cannot be read."""
        if file not in self._files:
            if len(self._files) >= _MOST_FILES:
                return ""
            self._files[file] = _lines(file)
        lines = self._files[file]
        return lines[number - 1] if 0 < number <= len(lines) else ""


def _lines(file: str) -> Sequence[str]:
    if not os.path.isabs(file):  # noqa: PTH117  # a name, which may be of no file: `<string>`
        return ()
    with suppress(OSError, SyntaxError, UnicodeError, ValueError):
        found = os.stat(file)  # noqa: PTH116  # likewise
        if stat.S_ISREG(found.st_mode) and found.st_size <= _LARGEST_FILE:
            with tokenize.open(file) as source:  # in the encoding that it declares
                return source.readlines()
    return ()
