"""The end of a test in its process: what pytest and Python do only at their own end.

It is told as the test's. Clean-ups and the last garbage collection can fail the test as its
teardown can. What Python does at exit changes no outcome, as it changes none without isolation,
and is cut off where it does not end.
"""

from __future__ import annotations

from _thread import start_new_thread  # noqa: PLC2701  # `threading` is not to know of the thread
import sys
import threading
from threading import Lock  # bound here: a test may replace it
import traceback
from typing import TYPE_CHECKING
from typing import Final
from typing import final
import warnings

import pytest

from pytest_isolate._compat import capture
from pytest_isolate._compat import phases
from pytest_isolate._compat import teardown
from pytest_isolate.child import exits
from pytest_isolate.child.exits import Exits
from pytest_isolate.child.exits import running_threads
from pytest_isolate.transfer import caught_warnings
from pytest_isolate.warning_types import PytestIsolateWarning
from pytest_isolate.wire.frames import Bye
from pytest_isolate.wire.frames import Event
from pytest_isolate.wire.real_os import RealOS

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from pytest_isolate.child.garbage import Garbage
    from pytest_isolate.wire.frames import Frame

#: The name of the event that tells that Python's exit begins.
EXITING: Final = "exiting"
#: How long exit functions and threads may take, all together.
LIMIT_SECONDS: Final = 5.0
_MOST_NAMES: Final = 10  #: of threads or processes that are told


@final
class Ending:
    """The end of one test; made right after the fork, for what is the parent's is left alone."""

    def __init__(self, item: pytest.Item, send: Callable[[Frame], None], garbage: Garbage) -> None:
        self._garbage = garbage
        garbage.begin()
        self._item = item
        self._send = send
        self._exits = Exits()
        self._cleanups = teardown.count_cleanups(item.config)  #: of the parent
        self._failures: list[str] = []  #: what exit functions and threads have raised
        self._over = Lock()  #: held when it is settled who ends the process
        self._main = threading.get_ident()

    def clean_up(self) -> None:
        """Do the last things that can fail the test, and report their failure as its teardown's.

        It is called where warnings are those of the test.
        """
        item = self._item
        with capture.captured(item, "teardown"):
            call = pytest.CallInfo.from_call(self._last_things, when="teardown")
        if call.excinfo is not None:
            report = item.ihook.pytest_runtest_makereport(item=item, call=call)
            item.ihook.pytest_runtest_logreport(report=report)
            phases.interact(item, call, report)

    def _last_things(self) -> None:
        __tracebackhide__ = True
        try:
            teardown.run_cleanups(self._item.config, self._cleanups)
        finally:
            _forget_last_exception()
            self._garbage.collect()
            phases.tell_uncaught(self._item.config)

    def leave(self) -> None:
        """Do what Python does at exit, and end the process here if that does not end."""
        if not self._exits.pending():
            return
        self._send(Event(EXITING, {}))
        capture.flush_streams(self._item.config)  # it may be the last opportunity
        try:
            start_new_thread(self._cut_off, ())
        except RuntimeError as error:
            self._say(
                f"exit functions of the test were not called, as nothing bounds them: {error}"
            )
            return
        sys.unraisablehook = self._note_unraisable
        threading.excepthook = self._note_uncaught
        self._exits.run(self._note)
        if not self._over.acquire(blocking=False):
            RealOS.sleep(threading.TIMEOUT_MAX)  # the other thread is about to end the process
        for failure in self._failures:
            self._say(failure)

    # --- in the thread that watches ---

    def _cut_off(self) -> None:
        RealOS.sleep(LIMIT_SECONDS)
        if not self._over.acquire(blocking=False):
            return
        try:
            for failure in self._failures:
                self._say(failure)
            self._say(self._unfinished())
        finally:
            self._send(Bye())
            RealOS.leave(0)

    def _unfinished(self) -> str:
        limit = f"{LIMIT_SECONDS:g} s"
        parts = [f"what the test left for Python's exit did not end in {limit} and was cut off"]
        frames = _frames(sys._current_frames().get(self._main))  # noqa: SLF001  # no other way
        if frames:
            parts.append(f"it was in {_place(frames[0])}")
        if len(frames) > 1:
            parts.append(f"called by {_place(frames[-1])}")
        processes = [f"{one.name} (pid {one.pid})" for one in self._exits.processes()]
        for kind, names in (("threads", running_threads()), ("processes", processes)):
            if names:
                parts.append(f"{kind}: {', '.join(names[:_MOST_NAMES])}")
        return "; ".join(parts)

    # --- what is told ---

    def _note(self, error: BaseException) -> None:
        if isinstance(error, SystemExit):
            return
        trace = error.__traceback__
        if trace is not None and trace.tb_frame.f_code.co_filename == exits.__file__:
            trace = trace.tb_next
        text = "".join(traceback.format_exception(type(error), error, trace))
        self._failures.append(f"raised at the exit of the test's process:\n{text}")

    def _note_unraisable(self, args: sys.UnraisableHookArgs) -> None:
        if args.exc_value is not None:
            self._note(args.exc_value)

    def _note_uncaught(self, args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None:
            self._note(args.exc_value)

    def _say(self, text: str) -> None:
        """Warn, as the test's warning; it is told and no more where warnings are errors."""
        item = self._item
        warning = PytestIsolateWarning(text)
        with phases.recording_warnings(item):
            try:
                item.warn(warning)
            except PytestIsolateWarning:
                message = warnings.WarningMessage(
                    message=warning,
                    category=PytestIsolateWarning,
                    filename=str(item.path),
                    lineno=(item.location[1] or 0) + 1,
                )
                frame = caught_warnings.pack(
                    message, when="runtest", nodeid=item.nodeid, location=None
                )
                self._send(frame)


def _forget_last_exception() -> None:
    """Let go of the frames of a failed test, as pytest does when the next is called."""
    for name in ("last_exc", "last_type", "last_value", "last_traceback"):
        vars(sys).pop(name, None)


def _frames(innermost: FrameType | None) -> list[FrameType]:
    """Return the frames down to those of this module and the one below, the innermost first."""
    frames: list[FrameType] = []
    while innermost is not None and innermost.f_code is not Exits.run.__code__:
        frames.append(innermost)
        innermost = innermost.f_back
    return frames[:-1]  # the last one is what carries the steps out


def _place(frame: FrameType) -> str:
    code = frame.f_code
    return f"{code.co_qualname} ({code.co_filename}:{frame.f_lineno})"
