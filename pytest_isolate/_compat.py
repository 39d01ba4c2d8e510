"""The only importer of pytest's private modules, and of pluggy's and pytest's private attributes.

Each function here is one thing that isolation needs and pytest has no public way for. All of them
hold for pytest 8.4 to 9.2; what a plugin may be missing (`-p no:capture`) is asked for first.
"""

# ruff: noqa: SLF001  # private attributes are what this module is for

from __future__ import annotations

from collections import ChainMap
from contextlib import ExitStack
from contextlib import contextmanager
from contextlib import nullcontext
from contextlib import suppress
from functools import partial
import io
import os
import sys
import tempfile
from typing import TYPE_CHECKING
from typing import Any
from typing import Final

from _pytest._io import TerminalWriter
from _pytest.capture import CaptureIO
from _pytest.capture import FDCaptureBase
from _pytest.faulthandler import fault_handler_stderr_fd_key
from _pytest.junitxml import xml_key
from _pytest.logging import LogCaptureHandler as LogCaptureHandler  # noqa: PLC0414  # for others
from _pytest.logging import caplog_records_key
from _pytest.runner import runtestprotocol as runtestprotocol  # noqa: PLC0414  # for others
from _pytest.skipping import evaluate_xfail_marks
from _pytest.skipping import xfailed_key
from _pytest.tmpdir import get_user
from _pytest.warnings import catch_warnings_for_item
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Collection
    from collections.abc import Generator
    from collections.abc import Iterable
    from collections.abc import Iterator
    from collections.abc import MutableMapping
    from contextlib import AbstractContextManager

    from _pytest.capture import CaptureBase
    from _pytest.capture import CaptureManager
    from _pytest.logging import LoggingPlugin

#: Hooks of reporters. They are called for an isolated test in the parent, and only there.
REPORTER_HOOKS: Final = (
    "pytest_runtest_logstart",
    "pytest_runtest_logreport",
    "pytest_runtest_logfinish",
    "pytest_warning_recorded",
)

# --- in the test process ---


def disown(session: pytest.Session) -> None:
    """Forget how to finalise what is set up by now: it is another process's.

    Its values stay. What is set up from now on is finalised as ever.
    """
    stack = session._setupstate.stack
    live = {
        fixture
        for finalizers, _ in stack.values()
        for finalizer in finalizers
        if (fixture := _finished_by(finalizer)) is not None
    }
    for finalizers, _ in stack.values():
        finalizers.clear()
    for fixture in live:
        # The fixtures that depend on this one stay: they have to be made anew, in this process,
        # if this one is, for another parameter.
        heirs = [finalizer for finalizer in fixture._finalizers if _finished_by(finalizer)]
        fixture._finalizers[:] = heirs


def _finished_by(finalizer: Callable[[], object]) -> pytest.FixtureDef[Any] | None:
    """Return the fixture that *finalizer* finishes: it is a partial of `FixtureDef.finish`."""
    owner = getattr(getattr(finalizer, "func", None), "__self__", None)
    return owner if isinstance(owner, pytest.FixtureDef) else None


def unhook(config: pytest.Config, names: Iterable[str], unwanted: Callable[[object], bool]) -> None:
    """Take *unwanted* plugins out of the hooks called *names*, in this process.

    The subset callers of `item.ihook` look the implementations up in the ones changed here.
    """
    for name in names:
        caller = getattr(config.hook, name)
        caller._hookimpls[:] = [i for i in caller.get_hookimpls() if not unwanted(i.plugin)]


def recording_warnings(item: pytest.Item) -> AbstractContextManager[None]:
    """Return a context in which warnings go to `pytest_warning_recorded` at its end."""
    if not item.config.pluginmanager.has_plugin("warnings"):
        return nullcontext()
    return catch_warnings_for_item(config=item.config, ihook=item.ihook, when="runtest", item=item)


def render(longrepr: Any) -> str:  # noqa: ANN401  # anything with a toterminal
    """Return *longrepr* with the terminal's escape sequences."""
    file = io.StringIO()
    writer = TerminalWriter(file)
    writer.hasmarkup = True
    longrepr.toterminal(writer)
    return file.getvalue()


# --- descriptors and streams ---


def inherited_fds(config: pytest.Config) -> tuple[int, ...]:
    """Return the descriptors of pytest's own that a test process has to keep, besides 0 to 2."""
    streams: list[Any] = [getattr(_terminal(config), "_file", None)]
    if (logging := _logging(config)) is not None:
        streams.append(logging.log_file_handler.stream)
    fds = [config.stash.get(fault_handler_stderr_fd_key, -1)]
    fds += [capture.targetfd_save for capture in _fd_captures(config)]
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


def talks_live(config: pytest.Config) -> bool:
    """Return whether tests write to the terminal while they run, in between the reports."""
    option = config.option
    return (
        getattr(option, "capture", "no") in {"no", "tee-sys"}
        or getattr(option, "setupshow", False)
        or ((logging := _logging(config)) is not None and logging._log_cli_enabled())
    )


def _logging(config: pytest.Config) -> LoggingPlugin | None:
    return config.pluginmanager.get_plugin("logging-plugin")


# --- where tests write things down, for `ledger` to carry over ---


def testsuite_properties(config: pytest.Config) -> list[tuple[str, str]]:
    """Return the list that the fixture `record_testsuite_property` appends to."""
    xml = config.stash.get(xml_key, None)
    return [] if xml is None else xml.global_properties


def xml_attributes(item: pytest.Item) -> dict[str, str]:
    """Return the mapping that the fixture `record_xml_attribute` writes to."""
    xml = item.config.stash.get(xml_key, None)
    return {} if xml is None else xml.node_reporter(item.nodeid).attrs


def directory_numbers(config: pytest.Config) -> MutableMapping[str, int]:
    """Return the next number that `tmp_path_factory` tries, by name (from pytest 9.2 on)."""
    factory = getattr(config, "_tmp_path_factory", None)
    return getattr(factory, "_next_number", {})


def note_directory_numbers(config: pytest.Config) -> dict[str, int]:
    """Return a mapping to which changes of `directory_numbers` go from now on."""
    new: dict[str, int] = {}
    factory: Any = getattr(config, "_tmp_path_factory", None)
    if hasattr(factory, "_next_number"):
        factory._next_number = ChainMap(new, factory._next_number)
    return new


def temporary_places(config: pytest.Config) -> list[str]:
    """Return the directories in which `tmp_path` is, or would be if it were asked for."""
    factory = getattr(config, "_tmp_path_factory", None)
    made = getattr(factory, "_basetemp", None) or getattr(factory, "_given_basetemp", None)
    top = os.environ.get("PYTEST_DEBUG_TEMPROOT") or tempfile.gettempdir()
    places = [f"{top}/pytest-of-{user_name()}", made]
    return [os.path.realpath(place) for place in places if place]


def user_name() -> str:
    """Return the user's name, as pytest has it in paths."""
    return get_user() or "unknown"


def cursor(config: pytest.Config) -> dict[str, Any]:
    """Return where on its line the terminal is: reports that follow are aligned by it."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return {}
    return {"line": reporter._tw._current_line, "ended": reporter.currentfspath is None}


def move_cursor(config: pytest.Config, line: str, *, ended: bool) -> None:
    """Let the terminal reporter know that another process has left its cursor there."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter._tw._current_line = line
        if ended:
            reporter.currentfspath = None


def is_shown_by_debugger(report: Any) -> bool:  # noqa: ANN401  # of a test or a collection
    """Return whether --pdb has shown *report*."""
    return getattr(report, "_pdbshown", False)


def note_shown_by_debugger(report: Any) -> None:  # noqa: ANN401  # the attribute is not declared
    """Let the terminal reporter leave *report* out of its summary: --pdb has shown it."""
    report._pdbshown = True


def end_line(config: pytest.Config) -> None:
    """End the line that the terminal reporter is on, so that others can write to the terminal."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.ensure_newline()
        reporter._tw.flush()


# --- in the parent ---


def tear_down(
    item: pytest.Item, nextitem: pytest.Item | None
) -> tuple[pytest.CallInfo[None], list[tuple[str, str]]] | None:
    """Tear down what lives in this process and *nextitem* does not need, if there is any.

    Returns the call and the report sections of what was printed and logged meanwhile.
    """
    state = item.session._setupstate
    needed = nextitem.listchain() if nextitem is not None else []
    if list(state.stack) == needed[: len(state.stack)]:
        return None
    before = len(item._report_sections)
    usepdb = getattr(item.config.option, "usepdb", False)
    reraise = (pytest.exit.Exception,) if usepdb else (pytest.exit.Exception, KeyboardInterrupt)
    os.environ["PYTEST_CURRENT_TEST"] = f"{item.nodeid} (teardown)".replace("\x00", "(null)")
    with _captured(item, "teardown"):
        call = pytest.CallInfo.from_call(
            lambda: state.teardown_exact(nextitem), when="teardown", reraise=reraise
        )
    os.environ.pop("PYTEST_CURRENT_TEST", None)
    sections = [(f"Captured {key} {when}", text) for when, key, text in item._report_sections]
    del item._report_sections[before:]
    return call, sections[before:]


@contextmanager
def _captured(item: pytest.Item, when: str) -> Generator[None]:
    """Capture output and logs of *item* as pytest does around a phase."""
    with ExitStack() as stack:
        if (logging := _logging(item.config)) is not None:
            logging.log_cli_handler.set_when(when)
            item.stash[caplog_records_key] = {}
            stack.enter_context(logging._runtest_for(item, when))
        if (capture := _capture_manager(item.config)) is not None:
            stack.enter_context(capture.item_capture(when, item))
        yield


@contextmanager
def expecting_failure(item: pytest.Item) -> Generator[None]:
    """Let `pytest_runtest_makereport` know of xfail marks, as setup does in the test process."""
    # A condition that cannot be evaluated has failed the setup already.
    with suppress(pytest.fail.Exception):
        item.stash[xfailed_key] = evaluate_xfail_marks(item)
    yield
    with suppress(KeyError):
        del item.stash[xfailed_key]


def shared_directories(config: pytest.Config, items: Collection[pytest.Item]) -> Iterator[str]:
    """Yield the directories of pytest's that outlive a test, made if they are not there."""
    # What cannot be made is the trouble of the tests that ask for it.
    factory = getattr(config, "_tmp_path_factory", None)
    wanted = any("tmp_path_factory" in getattr(item, "fixturenames", ()) for item in items)
    if factory is not None and wanted:
        with suppress(OSError):
            yield os.fspath(factory.getbasetemp())
    cache = getattr(config, "cache", None)
    if cache is not None:
        with suppress(OSError):
            cache._ensure_cache_dir_and_supporting_files()
            yield os.fspath(cache._cachedir)
