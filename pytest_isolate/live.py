"""Tests that are seen or talked to while they run: the debugger, live logs, `-s`."""

from __future__ import annotations

from contextlib import ExitStack
from contextlib import suppress
import os
import signal
from typing import TYPE_CHECKING

from pytest_isolate import _compat

if TYPE_CHECKING:
    import pytest

    from pytest_isolate.child import Handler
    from pytest_isolate.replay import Replay


def interactive(config: pytest.Config) -> bool:
    """Return whether the debugger was asked for."""
    return bool(getattr(config.option, "usepdb", False) or getattr(config.option, "trace", False))


def talks_live(config: pytest.Config) -> bool:
    """Return whether tests write to the terminal while they run, in between the reports."""
    return interactive(config) or _compat.talks_live(config)


def gate(stack: ExitStack, replay: Replay) -> int:
    """Return a pipe's end at which the test process waits until its report is shown."""
    gate, opener = (own(stack, fd) for fd in os.pipe2(os.O_CLOEXEC))
    os.set_blocking(opener, False)

    def open_gate() -> None:
        _compat.flush_streams(replay.item.config)
        with suppress(BlockingIOError):  # full: nobody waits there
            os.write(opener, b"+")

    replay.shown = open_gate
    return gate


def leave_interrupts(stack: ExitStack) -> Handler:
    """Ignore Ctrl-C, which is for the debugger in the same process group; return its handler."""
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    stack.callback(signal.signal, signal.SIGINT, handler)
    return handler


def own(stack: ExitStack, fd: int) -> int:
    """Let *stack* close *fd*."""
    stack.callback(os.close, fd)
    return fd
