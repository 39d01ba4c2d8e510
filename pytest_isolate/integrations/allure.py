"""allure-pytest: the result of a test is filled in its process, and written by pytest's.

The listener's wrapper of the protocol begins a result and writes it at the end; its other hooks,
steps and attachments fill it where the test runs. So it crosses with each report. Fixtures'
containers and attachments are files of their own, in a directory that gets out.
"""

from __future__ import annotations

from contextlib import suppress
import sys
from typing import TYPE_CHECKING
from typing import Any
from typing import Final
from typing import final

import pytest

from pytest_isolate.wire.frames import Event

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Generator

    from pytest_isolate.sandbox.outcome import Outcome
    from pytest_isolate.wire.frames import Json

#: The event that tells the result so far.
RESULT: Final = "allure"
_LISTENER: Final = "allure_listener"


def _result_of(config: pytest.Config, nodeid: str) -> Any:  # noqa: ANN401  # allure's
    """Return allure's result of a test that runs, or `None`."""
    listener: Any = config.pluginmanager.get_plugin(_LISTENER)
    if listener is None:
        return None
    uuid = listener._cache.get(nodeid)  # noqa: SLF001  # there is no public way
    return None if uuid is None else listener.allure_logger.get_test(uuid)


# --- in the test process ---


@final
class Teller:
    """A plugin in a test process that tells the result as each phase has left it."""

    def __init__(self, send: Callable[[Event], None]) -> None:
        self._send = send

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Tell the result after the listener's own hook."""
        report = yield
        if (result := _result_of(item.config, item.nodeid)) is not None:
            self._send(Event(RESULT, pack(result)))
        return report


def enter(config: pytest.Config, send: Callable[[Event], None]) -> None:
    """Tell the result, if allure is there, in this process."""
    if config.pluginmanager.has_plugin(_LISTENER):
        config.pluginmanager.register(Teller(send), "isolate-allure-teller")


def pack(result: Any) -> Json:  # noqa: ANN401  # of a class of allure's model
    """Return an object of allure's model as JSON; what is no text or number as its `str`."""
    return {"class": type(result).__name__, "state": {k: _packed(v) for k, v in _state(result)}}


def _state(value: object) -> list[tuple[str, Any]]:
    names = [field.name for field in getattr(type(value), "__attrs_attrs__", ())]
    return [(name, getattr(value, name, None)) for name in names]


def _packed(value: Any) -> Any:  # noqa: ANN401  # JSON
    if value is None or type(value) in {bool, int, float, str}:
        return value
    if isinstance(value, list | tuple):
        return [_packed(one) for one in value]
    return pack(value) if _state(value) else str(value)


# --- in pytest's process ---


def hear(item: pytest.Item, change: Json) -> None:
    """Let the result here be what it is in the test process."""
    result = _result_of(item.config, item.nodeid)
    if result is not None and change.get("class") == type(result).__name__:
        for name, value in _unpacked_state(change):
            if hasattr(result, name):
                setattr(result, name, value)


def _unpacked_state(change: Json) -> list[tuple[str, Any]]:
    return [(str(name), _unpacked(value)) for name, value in change["state"].items()]


def _unpacked(value: Any) -> Any:  # noqa: ANN401  # JSON
    match value:
        case list():
            return [_unpacked(one) for one in value]
        case {"class": str(name), "state": dict()}:
            kind = getattr(sys.modules["allure_commons.model2"], name)
            made = object.__new__(kind) if hasattr(kind, "__attrs_attrs__") else None
            for attribute, one in _unpacked_state(value):
                setattr(made, attribute, one)
            return made
        case _:
            return value


@final
class Completer:
    """A plugin in pytest's process that completes the result of a test that died."""

    @pytest.hookimpl
    def pytest_isolate_finished(self, item: pytest.Item, outcome: Outcome) -> None:
        """Fill in what the listener's hooks have not lived to."""
        del outcome
        result = _result_of(item.config, item.nodeid)
        if result is None or result.historyId is not None:
            return
        listener: Any = item.config.pluginmanager.get_plugin(_LISTENER)
        hooks = [listener.pytest_runtest_teardown]
        if result.fullName is None:
            hooks.insert(0, listener.pytest_runtest_setup)
        for hook in hooks:
            wrapper = hook(item)
            next(wrapper)
            with suppress(StopIteration):
                next(wrapper)


def attend(config: pytest.Config) -> None:
    """Complete the results of tests that die, if allure is there."""
    if config.pluginmanager.has_plugin(_LISTENER):
        config.pluginmanager.register(Completer(), "isolate-allure")
