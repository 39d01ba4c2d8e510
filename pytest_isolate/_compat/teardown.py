"""What is set up, and which process finalises it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
import os
from typing import TYPE_CHECKING
from typing import Any
from typing import final

import pytest

from pytest_isolate._compat.capture import captured

if TYPE_CHECKING:
    from collections.abc import Callable


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Teardown:
    """A teardown in this process."""

    call: pytest.CallInfo[None]
    sections: list[tuple[str, str]]  #: of a report: what was printed and logged meanwhile


def tear_down(item: pytest.Item, nextitem: pytest.Item | None) -> Teardown | None:
    """Tear down what lives in this process and *nextitem* does not need, if there is any."""
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
    return Teardown(call=call, sections=sections[before:])


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
