"""Ends of the session that a test has asked for, in the parent."""

from __future__ import annotations

import sys
from types import FunctionType
from typing import TYPE_CHECKING
from typing import Final
from typing import NoReturn

import pytest

from pytest_isolate.wire.frames import Stop

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Those that end the test at once, without its remaining reports.
AT_ONCE: Final = ("exit", "interrupt")
#: Attributes of the session that end it after the test.
AFTERWARDS: Final = ("shouldstop", "shouldfail")
_MOST_LINES: Final = 2**31  #: that a code object may be said to begin at


def carry_out(stops: Iterable[Stop]) -> None:
    """Raise what ends the session at once, if one of *stops* does."""
    for stop in stops:
        match stop:
            case Stop(kind="exit", reason=reason, returncode=returncode):
                raise pytest.exit.Exception(reason, returncode)
            case Stop(kind="interrupt", reason=place):
                _interrupt(place)
            case _:
                pass


def _interrupt(place: str) -> NoReturn:
    """Raise KeyboardInterrupt as if at *place*, `path:line`: pytest tells the user where it was."""
    path, _, line = place.rpartition(":")
    number = int(line) if line.isdecimal() else 1
    raise_at(KeyboardInterrupt(), path, number, _raise.__name__)


def raise_at(error: BaseException, path: str, line: int, name: str) -> NoReturn:
    """Raise *error* as if in the function *name*, at *line* of *path*."""
    number = line if 0 < line < _MOST_LINES else 1
    # Line numbers in a code object are relative to its first one; the body comes one line later.
    code = _raise.__code__.replace(co_filename=path, co_firstlineno=number - 1, co_name=name)
    trace = sys.gettrace()
    sys.settrace(None)  # nobody has run this: coverage.py would take it for the test's, run here
    try:
        FunctionType(code, {})(error)
    finally:
        sys.settrace(trace)
    raise error


def _raise(error: BaseException) -> NoReturn:
    raise error
