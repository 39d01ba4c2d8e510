"""What a test process says beside its frames, in files that outlive it."""

from __future__ import annotations

from contextlib import closing
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
import os
import sys
import threading
from typing import TYPE_CHECKING
from typing import Final
from typing import final

from pytest_isolate._compat import capture
from pytest_isolate.child import program
from pytest_isolate.child import watchdogs
from pytest_isolate.sandbox.supervise.last_words import LastWords
from pytest_isolate.transfer.output import Output

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator

    import pytest

    from pytest_isolate.child.watchdogs import Watchdog

_STACKS_LIMIT: Final = 256 * 1024  #: bytes


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """Output, logs, stacks and the words of faulthandler's watchdog, of one test process."""

    output: Output
    stacks: int
    last_words: LastWords
    watchdog: Watchdog

    @property
    def fds(self) -> tuple[int, ...]:
        """The descriptors that the test process needs."""
        return (*self.output.fds, *self.watchdog.fds, self.stacks)

    @property
    def chore(self) -> Callable[[], float]:
        """What is to be done meanwhile; it returns in how many seconds again."""
        return self.watchdog.between(self.output.keep_house)

    def said(self) -> dict[str, str]:
        """Return what it has printed and logged since its last report, by the stream's name."""
        return self.output.read()

    def stacks_text(self) -> str:
        """Return the stacks that it was asked for, or what its watchdog has said."""
        stacks = self.last_words.text(at_most=_STACKS_LIMIT).decode(errors="replace")
        return stacks or self.watchdog.text()


@contextmanager
def capturing(config: pytest.Config, *, cap: int | None) -> Iterator[Capture]:
    """Make the files for one test process, whose memory cap is *cap*.

    The watchdog is the test's meanwhile.
    """
    with (
        closing(Output(config, cap=cap)) as output,
        _memory_file("isolate-stacks") as stacks,
        watchdogs.paused(capture.capture_files(config).values()) as watchdog,
    ):
        yield Capture(
            output=output, stacks=stacks, last_words=_last_words(stacks), watchdog=watchdog
        )


@contextmanager
def _memory_file(name: str) -> Iterator[int]:
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _last_words(stacks: int) -> LastWords:
    """Return how a test process is asked for its threads' stacks, in the file *stacks*."""
    ends = _ends(threading.get_ident())
    return LastWords(
        number=program.STACKS_SIGNAL, alone=program.STACK_SIGNAL, file=stacks, ends=ends
    )


@cache
def _ends(_thread: int) -> tuple[bytes, ...]:
    """Return what stacks end with that are whole, of a fork of the calling thread.

    It is the main thread there, and comes last, down to its outermost frame or to as many as
    faulthandler shows.
    """
    frame = sys._getframe()  # noqa: SLF001  # there is no other way to it
    while frame.f_back is not None:
        frame = frame.f_back
    return f" in {frame.f_code.co_name}\n".encode(errors="backslashreplace"), b"\n  ...\n"
