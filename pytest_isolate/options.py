"""What pytest says of isolation - flags, ini file, markers, hook - made into policies.

A wrong value anywhere is a `pytest.UsageError` of one line a mistake, before any test runs.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from typing import Any
from typing import Final
from typing import Protocol

import pytest

from pytest_isolate.policy.model import Origin
from pytest_isolate.policy.model import Policy
from pytest_isolate.policy.model import PolicyError
from pytest_isolate.policy.model import Source
from pytest_isolate.policy.parsers import shown
from pytest_isolate.policy.settings import SETTINGS
from pytest_isolate.policy.settings import Shape

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Mapping

    from pytest_isolate.policy.settings import Setting

#: The marker's name.
MARKER: Final = "isolated"
#: An item's policy; `None` is not isolated.
policy_key = pytest.StashKey[Policy | None]()
_run_key = pytest.StashKey[Policy]()
_checked_key = pytest.StashKey[bool]()

_ACTIONS: Final[Mapping[Shape, Mapping[str, Any]]] = {
    Shape.SWITCH: {"action": "store_const", "const": True},
    Shape.LIST: {"action": "append"},
}
#: How many mistakes are named: one in a parametrized test may count thousands.
_MOST: Final = 20
#: Wrong values that a worker of pytest-xdist found, on the way to the process that can say so.
_WORKER_OUTPUT: Final = "isolate_usage_errors"
#: The pid of the process that started a worker.
_WORKER_INPUT: Final = "isolate_controller"


class Worker(Protocol):
    """What is used of pytest-xdist's handle on a worker."""

    workerinput: dict[str, Any]
    workeroutput: Mapping[str, Any]


def register(parser: pytest.Parser) -> None:
    """Add all flags and ini keys."""
    group = parser.getgroup("isolate", "isolation of tests, each in its own sandbox")
    types = _ini_types()
    for setting in SETTINGS:
        if setting.flag:
            _add_flag(group, setting)
        if setting.ini:
            # None is "not given", which False, 0 and "" are not.
            parser.addini(setting.ini, setting.help, type=types[setting.shape], default=None)
    group.addoption(
        "--no-isolate",
        dest="no_isolate",
        action="store_const",
        const=True,
        default=None,
        help="isolate nothing, not even marked tests, as for debugging",
    )
    group.addoption(
        "--isolate-shell",
        dest="isolate_shell",
        action="store_const",
        const=True,
        default=None,
        help="open a shell in the sandbox of each isolated test that fails, while it still lives",
    )


def _ini_types() -> Mapping[Shape, Any]:
    """Return what pytest is told about the types of ini keys, so that native TOML types work.

    From 9.2 a key may have several types. 9.0 and 9.1 take from TOML the one type that is
    registered. 8.4 reads only text, and would refuse the word `none` for a number.
    """
    types: dict[Shape, Any] = {Shape.SWITCH: "bool", Shape.LIST: "linelist"}
    if pytest.version_tuple >= (9, 2):
        types |= {Shape.SIZE: str | int, Shape.WHOLE: str | int, Shape.REAL: str | float}
    elif pytest.version_tuple >= (9, 0):
        types |= {Shape.WHOLE: "int", Shape.REAL: "float"}
    return dict.fromkeys(Shape, "string") | types


def _add_flag(group: pytest.OptionGroup, setting: Setting) -> None:
    how = dict(_ACTIONS.get(setting.shape, {}))
    if setting.shape is not Shape.SWITCH:
        how["metavar"] = setting.form
    group.addoption(setting.flag, dest=_dest(setting), default=None, help=setting.help, **how)


def _dest(setting: Setting) -> str:
    return setting.flag.removeprefix("--").replace("-", "_")


def marker_line() -> str:
    """Return the marker's documentation for `pytest --markers`."""
    known = [setting for setting in SETTINGS if setting.marker]
    signature = ", ".join(f"{setting.name}={_form(setting)}" for setting in known)
    details = ". ".join(f"{setting.name} - {setting.help}" for setting in known)
    return f"{MARKER}({signature}): run this test in its own sandbox. {details}."


def _form(setting: Setting) -> str:
    """Return what the marker takes: where a flag is repeated, a list."""
    repeated = setting.shape is Shape.LIST and setting.flag
    return f"[{setting.form}, ...]" if repeated else setting.form


def switched_off(config: pytest.Config) -> bool:
    """Return whether --no-isolate was given."""
    return bool(config.getoption("no_isolate"))


def asks_for_all(early_config: pytest.Config) -> bool:
    """Return whether all tests are to be isolated, before the command line is parsed for good."""
    flag = getattr(early_config.known_args_namespace, "isolate", None)
    return bool(flag or _getini(early_config, "isolate"))


def wants_shell(config: pytest.Config) -> bool:
    """Return whether --isolate-shell was given."""
    return bool(config.getoption("isolate_shell"))


def distributes(config: pytest.Config) -> bool:
    """Return whether workers of pytest-xdist run the tests of this process."""
    return getattr(config.option, "dist", "no") != "no"


def run_policy(config: pytest.Config) -> Policy:
    """Return the policy of the whole run: default, ini file and command line.

    Ask for it in `pytest_configure`: that is where a wrong value of theirs is raised.
    """
    if _run_key not in config.stash:
        try:
            config.stash[_run_key] = _run_policy(config)
        except PolicyError as error:
            raise pytest.UsageError(str(error)) from None
    return config.stash[_run_key]


def _run_policy(config: pytest.Config) -> Policy:
    ini = {s.name: _getini(config, s.ini) for s in SETTINGS if s.ini}
    line = {s.name: config.getoption(_dest(s)) for s in SETTINGS if s.flag}
    invoked = os.fspath(config.invocation_params.dir)
    policy = Policy().override(Origin(Source.INI), _given(ini), os.fspath(config.rootpath))
    return policy.override(Origin(Source.COMMAND_LINE), _given(line), invoked)


def _getini(config: pytest.Config, key: str) -> object:
    try:
        return config.getini(key)
    except (TypeError, ValueError, pytest.UsageError) as error:  # the last from pytest 9.2 on
        msg = f"ini {key}: {error}"
        raise pytest.UsageError(msg) from None


def _given(written: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in written.items() if value is not None}


def policy_of(item: pytest.Item) -> Policy | None:
    """Return what *item* runs under, or `None` if it is not isolated. Raises UsageError."""
    if policy_key not in item.stash:
        item.stash[policy_key] = None if switched_off(item.config) else _policy_of(item)
    return item.stash[policy_key]


def _policy_of(item: pytest.Item) -> Policy | None:
    try:
        policy = _marked(item, run_policy(item.config))
    except PolicyError as error:
        raise pytest.UsageError(str(error)) from None
    try:
        policy = _adapted(item, policy)
    except PolicyError as error:
        msg = f"{item.nodeid}: {error}"
        raise pytest.UsageError(msg) from None
    return policy if policy.enabled else None


def _marked(item: pytest.Item, policy: Policy) -> Policy:
    """Return *policy* with what the markers of *item* say, the closest last.

    Of one node the last marker wins: pytest lists a base class's before a subclass's, and a
    test's own before those of its `pytest.param`.
    """
    base = os.fspath(item.config.rootpath)
    for node in item.listchain():
        for mark in node.own_markers:
            if mark.name == MARKER:
                origin = Origin(Source.MARKER, node.nodeid)
                if mark.args:
                    place = origin.name("enabled")
                    text = shown(mark.args[0])
                    msg = f"{place}({text}): its arguments have names, as in memory='100M'"
                    raise PolicyError(msg)
                policy = policy.override(origin, {"enabled": True, **mark.kwargs}, base)
    return policy


def _adapted(item: pytest.Item, policy: Policy) -> Policy:
    """Return what the hook makes of *policy*."""
    adapted: object = item.ihook.pytest_isolate_policy(item=item, policy=policy)
    if adapted is None:
        return policy
    if not isinstance(adapted, Policy):
        msg = f"pytest_isolate_policy: returned {shown(adapted)}, not a Policy"
        raise PolicyError(msg)
    for name in (setting.name for setting in SETTINGS):
        value = getattr(adapted, name)
        # Set by hand it would be unchecked, and lost as a default is where it cannot be had.
        if value != getattr(policy, name) and not adapted.asked(name):
            msg = f"pytest_isolate_policy({name}={shown(value)}): write policy.replace({name}=...)"
            raise PolicyError(msg)
    return adapted


def check_all(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Find the policies of all *items*; raise UsageError with a line for each mistake.

    A UsageError out of a worker of pytest-xdist would be an internal error of the controlling
    process: there the lines are handed on, for `check_worker` to raise, and nothing is run.
    """
    lines = list(dict.fromkeys(_mistakes(items)))
    if not lines:
        config.stash[_checked_key] = True
        return
    if len(lines) > _MOST:
        lines = [*lines[:_MOST], f"and {len(lines) - _MOST} more wrong values of markers"]
    output: dict[str, Any] | None = getattr(config, "workeroutput", None)
    if output is None:
        raise pytest.UsageError(*lines)
    output[_WORKER_OUTPUT] = lines
    items.clear()


def are_checked(config: pytest.Config) -> bool:
    """Return whether `check_all` has found nothing wrong."""
    return config.stash.get(_checked_key, False)


def tell_worker(worker: Worker) -> None:
    """Tell *worker*, before it starts, which process has started it."""
    worker.workerinput[_WORKER_INPUT] = os.getpid()


def controller(config: pytest.Config) -> int | None:
    """Return the process that started this worker of pytest-xdist, if it is on this machine."""
    told = getattr(config, "workerinput", {}).get(_WORKER_INPUT)
    return told if told == os.getppid() else None


def check_worker(worker: Worker) -> None:
    """Raise UsageError for what `check_all` found in *worker* of pytest-xdist, now down."""
    if lines := getattr(worker, "workeroutput", {}).get(_WORKER_OUTPUT):
        raise pytest.UsageError(*lines)


def _mistakes(items: Iterable[pytest.Item]) -> Iterable[str]:
    for item in items:
        try:
            policy_of(item)
        except pytest.UsageError as error:
            yield str(error)
