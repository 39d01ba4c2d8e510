"""Output and logs: what they are captured in, and the streams that they go to."""

from __future__ import annotations

from contextlib import ExitStack
from contextlib import contextmanager
from contextlib import suppress
from functools import partial
import sys
from typing import TYPE_CHECKING
from typing import Any

from _pytest.capture import CaptureIO
from _pytest.capture import FDCaptureBase
from _pytest.faulthandler import fault_handler_stderr_fd_key
from _pytest.logging import LogCaptureHandler as LogCaptureHandler  # noqa: PLC0414  # for others
from _pytest.logging import caplog_records_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Generator

    from _pytest._io import TerminalWriter
    from _pytest.capture import CaptureBase
    from _pytest.capture import CaptureManager
    from _pytest.logging import LoggingPlugin
    import pytest


def inherited_fds(config: pytest.Config) -> tuple[int, ...]:
    """Return the descriptors of pytest's own that a test process has to keep, besides 0 to 2."""
    streams: list[Any] = [getattr(_terminal(config), "_file", None)]
    if (logging := _logging(config)) is not None:
        streams.append(logging.log_file_handler.stream)
    fds = [config.stash.get(fault_handler_stderr_fd_key, -1)]
    fds += [capture.targetfd_save for capture in _fd_captures(config)]
    fds += capture_files(config).values()  # what goes there is redirected at once
    for stream in streams:
        # A stream in memory has no descriptor, a closed one neither.
        with suppress(AttributeError, OSError, ValueError):
            fds.append(stream.fileno())
    return tuple({fd for fd in fds if fd > 2})  # noqa: PLR2004  # the standard ones


def flush_streams(config: pytest.Config) -> None:
    """Write out what is buffered for standard output and error, and for the terminal."""
    terminal = getattr(_terminal(config), "_file", None)
    for stream in (terminal, sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        # The test may have replaced, closed or broken any of them.
        with suppress(AttributeError, OSError, ValueError):
            stream.flush()  # type: ignore[union-attr]  # suppressed


@contextmanager
def uncaptured(config: pytest.Config) -> Generator[None]:
    """Let standard input, output and error lead where they did before pytest captured them."""
    manager = _capture_manager(config)
    if manager is None:
        yield
        return
    capturing = manager._global_capturing
    suspended = capturing is not None and capturing._state == "suspended"
    manager.suspend(in_=True)
    try:
        yield
    finally:
        manager.resume()
        if suspended:
            manager.suspend_global_capture(in_=False)


@contextmanager
def captured(item: pytest.Item, when: str) -> Generator[None]:
    """Capture output and logs of *item* as pytest does around a phase."""
    with ExitStack() as stack:
        if (logging := _logging(item.config)) is not None:
            logging.log_cli_handler.set_when(when)
            item.stash[caplog_records_key] = {}
            stack.enter_context(logging._runtest_for(item, when))
        if (capture := _capture_manager(item.config)) is not None:
            stack.enter_context(capture.item_capture(when, item))
        yield


def capture_files(config: pytest.Config) -> dict[int, int]:
    """Return the descriptors of the files that standard output (1) and error (2) go to."""
    return {one.targetfd: one.tmpfile.fileno() for one in _fd_captures(config)[1:]}


def capture_streams(config: pytest.Config) -> dict[int, CaptureIO]:
    """Return the streams in memory that `sys.stdout` (1) and `sys.stderr` (2) are captured in."""
    captures = [getattr(one, "tmpfile", None) for one in _captures(config)[1:]]
    return {fd: one for fd, one in enumerate(captures, 1) if isinstance(one, CaptureIO)}


def bound_captures(
    config: pytest.Config, fits: Callable[[int], bool], read: Callable[[int], str]
) -> None:
    """Let *read* take what is captured in files, in this process, if a file no longer *fits*."""
    for one in _fd_captures(config)[1:]:
        one.snap = partial(_snap, one, one.snap, fits, read)  # type: ignore[method-assign]


def _snap(
    capture: FDCaptureBase[Any],
    snap: Callable[[], str],
    fits: Callable[[int], bool],
    read: Callable[[int], str],
) -> str:
    __tracebackhide__ = True  # a test that has closed the stream sees pytest's own error
    if fits(capture.tmpfile.fileno()):
        return snap()
    text = read(capture.tmpfile.fileno())
    capture.tmpfile.seek(0)
    capture.tmpfile.truncate()
    return text


def log_handler(config: pytest.Config) -> LogCaptureHandler | None:
    """Return what the section of a phase's logs is captured by."""
    return None if (logging := _logging(config)) is None else logging.report_handler


def talks_live(config: pytest.Config) -> bool:
    """Return whether tests write to the terminal while they run, in between the reports."""
    option = config.option
    return (
        getattr(option, "capture", "no") in {"no", "tee-sys"}
        or getattr(option, "setupshow", False)
        or ((logging := _logging(config)) is not None and logging._log_cli_enabled())
    )


def _fd_captures(config: pytest.Config) -> list[FDCaptureBase[Any]]:
    return [one for one in _captures(config) if isinstance(one, FDCaptureBase)]


def _captures(config: pytest.Config) -> tuple[CaptureBase[str] | None, ...]:
    """Return pytest's captures of standard input, output and error."""
    manager = _capture_manager(config)
    capturing = None if manager is None else manager._global_capturing
    return () if capturing is None else (capturing.in_, capturing.out, capturing.err)


def _capture_manager(config: pytest.Config) -> CaptureManager | None:
    return config.pluginmanager.get_plugin("capturemanager")


def _terminal(config: pytest.Config) -> TerminalWriter | None:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return None if reporter is None else reporter._tw


def _logging(config: pytest.Config) -> LoggingPlugin | None:
    return config.pluginmanager.get_plugin("logging-plugin")
