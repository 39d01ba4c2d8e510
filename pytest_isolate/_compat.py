"""The only importer of pytest's private modules, and of pluggy's and pytest's private attributes.

Each function here is one thing that isolation needs and pytest has no public way for. All of them
hold for pytest 8.4 to 9.2; what a plugin may be missing (`-p no:capture`) is asked for first.
"""

# ruff: noqa: SLF001  # private attributes are what this module is for

from __future__ import annotations

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
from typing import TypeAlias

from _pytest import runner
from _pytest._io import TerminalWriter
from _pytest.capture import CaptureIO
from _pytest.capture import FDCaptureBase
from _pytest.faulthandler import fault_handler_stderr_fd_key
from _pytest.junitxml import xml_key
from _pytest.logging import LogCaptureHandler as LogCaptureHandler  # noqa: PLC0414  # for others
from _pytest.logging import caplog_records_key
from _pytest.pathlib import _force_symlink
from _pytest.runner import check_interactive_exception
from _pytest.runner import runtestprotocol as runtestprotocol  # noqa: PLC0414  # for others
from _pytest.skipping import evaluate_xfail_marks
from _pytest.skipping import xfailed_key
from _pytest.threadexception import collect_thread_exception
from _pytest.threadexception import thread_exceptions
from _pytest.tmpdir import get_user
from _pytest.unraisableexception import collect_unraisable
from _pytest.unraisableexception import unraisable_exceptions
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
    from pathlib import Path

    from _pytest.capture import CaptureBase
    from _pytest.capture import CaptureManager
    from _pytest.logging import LoggingPlugin
    from pluggy import HookCaller
    from pluggy import HookImpl

#: Hooks of reporters. They are called for an isolated test in the parent, and only there.
REPORTER_HOOKS: Final = (
    "pytest_runtest_logstart",
    "pytest_runtest_logreport",
    "pytest_runtest_logfinish",
    "pytest_warning_recorded",
)
#: Hooks of reporters in which pytest itself has to do in the test process as well.
HOOKS_OF_BOTH: Final = ("pytest_report_teststatus", "pytest_exception_interact")
#: Attributes of nodes, the session and the config that are pytest's own.
OWN_ATTRIBUTES: Final = frozenset({
    *("_bestrelpathcache", "_collection_cache", "_fixturemanager", "_initial_parts"),
    *("_initialpaths", "_initialpaths_with_parents", "_notfound", "_setupstate", "_shouldfail"),
    *("_shouldstop", "exitstatus", "items", "shouldfail", "shouldstop", "testscollected"),
    *("testsfailed", "trace", "_obj", "_store", "extra_keyword_matches", "keywords"),
    *("own_markers", "_fixtureinfo", "_instance", "_report_sections", "_request", "callspec"),
    *("fixturenames", "funcargs", "location", "originalname", "user_properties", "_testcase"),
    *("_cleanup", "_cleanup_stack", "_configured", "_inicache", "_inicfg", "_inipath"),
    *("_ignored_config_files", "_parser", "_rootpath", "_tmp_path_factory", "_tmpdirhandler"),
    *("args", "args_source", "cache", "hook", "invocation_params", "known_args_namespace"),
    *("option", "pluginmanager", "obj", "parent", "session", "config", "name", "path", "runner"),
    *("dtest", "_nodeid", "_id", "_explicit_tearDown", "stash"),
})

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


#: Lists of implementations, each with those that are to be left in it.
Unhooking: TypeAlias = "list[tuple[list[HookImpl], list[HookImpl]]]"


def without_reporters(config: pytest.Config, keep: Collection[object]) -> Unhooking:
    """Return how the reporters but *keep* leave the hooks that are theirs, for `unhook_all`."""

    def is_reporter(plugin: object, name: str) -> bool:
        ours = any(plugin is one for one in keep)
        return not ours and not (name in HOOKS_OF_BOTH and is_pytests(plugin))

    callers = [getattr(config.hook, name) for name in (*REPORTER_HOOKS, *HOOKS_OF_BOTH)]
    return [
        (
            caller._hookimpls,
            [one for one in caller.get_hookimpls() if not is_reporter(one.plugin, caller.name)],
        )
        for caller in callers
    ]


def unhook_all(unhooking: Unhooking) -> None:
    """Leave implementations out as `without_reporters` has found, in this process."""
    for implementations, left in unhooking:
        implementations[:] = left


def number_of_plugins(config: pytest.Config) -> int:
    """Return how many plugins there are, without a look at each."""
    return len(config.pluginmanager._name2plugin)


def is_pytests(plugin: object) -> bool:
    """Return whether *plugin* is one of pytest's own."""
    module = getattr(plugin, "__name__", None) or type(plugin).__module__
    return module.partition(".")[0] == "_pytest"


def of_others(item: pytest.Item, name: str) -> HookCaller:
    """Return the caller of the hook *name* for *item*, without the implementations of pytest."""
    caller = getattr(item.ihook, name)
    pytests = {impl.plugin for impl in caller.get_hookimpls() if is_pytests(impl.plugin)}
    removed: Collection[object] = getattr(item.ihook, "remove_mods", ())
    return item.config.pluginmanager.subset_hook_caller(name, [*pytests, *removed])


def running_protocol() -> Callable[..., list[pytest.TestReport]]:
    """Return the function that pytest calls to run an item: sessions replace it."""
    return runner.runtestprotocol


def hook_callers(config: pytest.Config) -> list[tuple[str, HookCaller]]:
    """Return the callers of all hooks, by name."""
    # `config.hook` is a proxy of it in pytest 8.
    return list(vars(config.pluginmanager.hook).items())


def stashed(stash: pytest.Stash) -> dict[Any, object]:
    """Return the entries of *stash*, as they are."""
    return stash._storage


def recording_warnings(item: pytest.Item) -> AbstractContextManager[None]:
    """Return a context in which warnings go to `pytest_warning_recorded` at its end."""
    if not item.config.pluginmanager.has_plugin("warnings"):
        return nullcontext()
    return catch_warnings_for_item(config=item.config, ihook=item.ihook, when="runtest", item=item)


def count_cleanups(config: pytest.Config) -> int:
    """Return how many functions `Config.add_cleanup` has added by now."""
    stack: Any = config._cleanup_stack
    return len(stack._exit_callbacks)


def run_cleanups(config: pytest.Config, first: int) -> None:
    """Call what `Config.add_cleanup` has added, the last first, but for the *first* ones."""
    stack: Any = config._cleanup_stack
    callbacks = stack._exit_callbacks
    if len(callbacks) <= first:
        return
    with ExitStack() as ours:
        ours.callback(run_cleanups, config, first)  # what these add
        added = [callbacks.pop() for _ in range(len(callbacks) - first)]
        vars(ours)["_exit_callbacks"].extend(reversed(added))


def tell_uncaught(config: pytest.Config) -> None:
    """Warn of exceptions that nobody could catch, or raise the warnings where they are errors."""
    __tracebackhide__ = True
    try:
        if unraisable_exceptions in config.stash:
            collect_unraisable(config)
    finally:
        if thread_exceptions in config.stash:
            collect_thread_exception(config)


def interact(item: pytest.Item, call: pytest.CallInfo[Any], report: pytest.TestReport) -> None:
    """Let the debugger and others look at a failure, as after a phase."""
    if check_interactive_exception(call, report):
        item.ihook.pytest_exception_interact(node=item, call=call, report=report)


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


# --- where tests write things down, for `session_state` to carry over ---


def testsuite_properties(config: pytest.Config) -> list[tuple[str, str]]:
    """Return the list that the fixture `record_testsuite_property` appends to."""
    xml = config.stash.get(xml_key, None)
    return [] if xml is None else xml.global_properties


def writes_junit(config: pytest.Config) -> bool:
    """Return whether this process writes a file of junitxml."""
    return xml_key in config.stash


def failed_subtests(config: pytest.Config) -> MutableMapping[Any, int]:
    """Return how many subtests have failed, by their test; pytest has no subtests before 9."""
    subtests = sys.modules.get("_pytest.subtests")
    return {} if subtests is None else config.stash.get(subtests.failed_subtests_key, {})


def subtests_name(item: pytest.Item) -> object:
    """Return the key of *item* in `failed_subtests`."""
    return getattr(item, "id", item.nodeid)


def xml_attributes(item: pytest.Item) -> dict[str, str]:
    """Return the mapping that the fixture `record_xml_attribute` writes to."""
    xml = item.config.stash.get(xml_key, None)
    return {} if xml is None else xml.node_reporter(item.nodeid).attrs


# --- temporary directories ---


def note_directories(config: pytest.Config, note: Callable[[str, int], None]) -> None:
    """Have *note* called with the prefix and number of each directory that gets one."""
    factory: Any = getattr(config, "_tmp_path_factory", None)
    if factory is not None:
        factory.mktemp = partial(_mktemp, factory, factory.mktemp, note)


def _mktemp(
    factory: Any,  # noqa: ANN401  # its attributes are private
    mktemp: Callable[[str, bool], Path],
    note: Callable[[str, int], None],
    basename: str,
    numbered: bool = True,  # noqa: FBT001, FBT002  # as pytest's
) -> Path:
    __tracebackhide__ = True
    if not numbered:
        return mktemp(basename, numbered)
    if hasattr(factory, "_make_counted_dir"):
        path = mktemp(basename, numbered)
    else:
        path = _make_counted_directory(factory, basename)
    prefix = os.path.normpath(basename)
    note(prefix, int(path.name[len(prefix) :]))
    return path


def _make_counted_directory(factory: Any, basename: str) -> Path:  # noqa: ANN401  # as above
    """Make a numbered directory as pytest does from 9.2 on; before, it counts what it sees."""
    __tracebackhide__ = True
    prefix = factory._ensure_relative_to_basetemp(basename)
    numbers = directory_numbers(factory)
    number = numbers.get(prefix.lower(), 0)
    while True:
        path: Path = factory.getbasetemp().joinpath(f"{prefix}{number}")
        number += 1
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            continue
        numbers[prefix.lower()] = number
        _force_symlink(path.parent, f"{prefix}current", path)
        factory._trace("mktemp", path)
        return path


def skip_directory_number(config: pytest.Config, prefix: str, number: int) -> None:
    """Let the next directory of *prefix* get a higher number than this."""
    factory = getattr(config, "_tmp_path_factory", None)
    if factory is not None:
        numbers = directory_numbers(factory)
        key = prefix.lower()
        numbers[key] = max(numbers.get(key, 0), number + 1)


def directory_numbers(factory: Any) -> dict[str, int]:  # noqa: ANN401  # as above
    """Return the next number that *factory* tries, by prefix; pytest has that from 9.2 on."""
    if not hasattr(factory, "_next_number"):
        factory._next_number = {}
    numbers: dict[str, int] = factory._next_number
    return numbers


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
    with captured(item, "teardown"):
        call = pytest.CallInfo.from_call(
            lambda: state.teardown_exact(nextitem), when="teardown", reraise=reraise
        )
    os.environ.pop("PYTEST_CURRENT_TEST", None)
    sections = [(f"Captured {key} {when}", text) for when, key, text in item._report_sections]
    del item._report_sections[before:]
    return call, sections[before:]


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


@contextmanager
def expecting_failure(item: pytest.Item) -> Generator[None]:
    """Let `pytest_runtest_makereport` know of xfail marks, as setup does in the test process."""
    # A condition that cannot be evaluated has failed the setup already.
    with suppress(pytest.fail.Exception):
        item.stash[xfailed_key] = evaluate_xfail_marks(item)
    yield
    with suppress(KeyError):
        del item.stash[xfailed_key]


def base_directory(config: pytest.Config, items: Collection[pytest.Item]) -> str:
    """Return the base temporary directory, made if any of *items* asks for it; or ""."""
    factory: pytest.TempPathFactory | None = getattr(config, "_tmp_path_factory", None)
    wanted = any("tmp_path_factory" in getattr(item, "fixturenames", ()) for item in items)
    if factory is not None and wanted:
        # What cannot be made is the trouble of the tests that ask for it.
        with suppress(OSError):
            return os.path.realpath(factory.getbasetemp())
    return ""


def shared_directories(config: pytest.Config) -> Iterator[str]:
    """Yield the directories of pytest's that outlive a test, made if they are not there."""
    cache = getattr(config, "cache", None)
    if cache is not None:
        with suppress(OSError):
            cache._ensure_cache_dir_and_supporting_files()
            yield os.fspath(cache._cachedir)
