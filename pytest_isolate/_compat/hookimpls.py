"""Whose implementations of hooks run, and in which process."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Final
from typing import TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Collection
    from collections.abc import Iterable

    from pluggy import HookCaller
    from pluggy import HookImpl
    import pytest

#: Hooks of reporters. They are called for an isolated test in the parent, and only there.
REPORTER_HOOKS: Final = (
    "pytest_runtest_logstart",
    "pytest_runtest_logreport",
    "pytest_runtest_logfinish",
    "pytest_warning_recorded",
)
#: Hooks of reporters in which pytest itself has to do in the test process as well.
HOOKS_OF_BOTH: Final = ("pytest_report_teststatus", "pytest_exception_interact")


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


def hook_callers(config: pytest.Config) -> list[tuple[str, HookCaller]]:
    """Return the callers of all hooks, by name."""
    # `config.hook` is a proxy of it in pytest 8.
    return list(vars(config.pluginmanager.hook).items())
