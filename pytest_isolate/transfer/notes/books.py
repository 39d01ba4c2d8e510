"""Where other plugins keep their books: the places of objects that both processes have. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from io import StringIO
import sys
from types import BuiltinFunctionType
from types import FunctionType
from types import ModuleType
from typing import TYPE_CHECKING
from typing import Any
from typing import Final
from typing import TypeAlias
from weakref import WeakKeyDictionary

import pytest

from pytest_isolate._compat import hookimpls
from pytest_isolate._compat import records

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Mapping
    from collections.abc import MutableMapping

    from pluggy import HookImpl

#: A root's kind and name, then steps from there: `["a", attribute]`, `["k", key]`, `["i", index]`.
Place: TypeAlias = tuple[tuple[str, Any], ...]
#: Objects with their places.
Roots: TypeAlias = tuple[tuple[Place, object], ...]

#: Hooks that run a test's or a fixture's code within the implementation, or that are another
#: process's: what changes there is no note.
_UNWATCHED: Final = frozenset({
    *hookimpls.REPORTER_HOOKS,
    *hookimpls.HOOKS_OF_BOTH,
    "pytest_pyfunc_call",
    "pytest_runtest_protocol",
    "pytest_runtestloop",
})
#: What never belongs to other plugins, by the first part of the module's name. What coverage.py
#: measures is of one process, whoever has started it.
_NOT_OTHERS: Final = sys.stdlib_module_names | {
    *("_pytest", "coverage", "pluggy", "pytest", "pytest_isolate"),
}


#: Plugins whose hooks note nothing that another process would miss: what they have to tell is on
#: the reports. It takes 2 ms of a test to watch a few of them in vain.
_NOTING_NOTHING: Final = frozenset({
    *("_hypothesis_pytestplugin", "anyio", "pytest_asyncio", "pytest_cov", "pytest_timeout"),
    "xdist",
})


def is_others(module: str) -> bool:
    """Return whether the module of that name is neither pytest's, Python's nor ours."""
    return module.partition(".")[0] not in _NOT_OTHERS


@dataclass(frozen=True, slots=True)
class Hook:
    """A hook implementation of another plugin or of a conftest, and where that keeps its books."""

    implementation: HookImpl
    roots: Roots


@dataclass(frozen=True, slots=True)
class Hooks:
    """All that may note something, found before the fork: a test process looks for nothing."""

    hooks: tuple[Hook, ...]
    #: Keys of stashes by address, which a fork does not change: one is the same only as itself.
    keys: Mapping[int, Place]


NO_HOOKS: Final = Hooks((), {})


def may_note(module: str) -> bool:
    """Return whether hooks of a plugin in the module of that name may note something."""
    return is_others(module) and module.partition(".")[0] not in _NOTING_NOTHING


def find_hooks(config: pytest.Config) -> Hooks:
    """Return the hook implementations of other plugins and conftests, as they are now."""
    hooks = tuple(
        Hook(impl, tuple(_roots_of_plugin(impl)))
        for name, caller in hookimpls.hook_callers(config)
        if name not in _UNWATCHED
        for impl in caller.get_hookimpls()
        if may_note(_module_of(impl.plugin))
    )
    keys = {
        id(value): (*place, ("a", name))
        for place, owner in {place: owner for hook in hooks for place, owner in hook.roots}.items()
        for name, value in (attributes(owner) or {}).items()
        if isinstance(value, pytest.StashKey)
    }
    return Hooks(hooks, keys)


def _module_of(plugin: object) -> str:
    if isinstance(plugin, ModuleType):
        # With `--import-mode=importlib` a conftest's name begins with its directory's.
        is_conftest = str(getattr(plugin, "__file__", "")).endswith("conftest.py")
        return "conftest" if is_conftest else plugin.__name__
    kind = plugin if isinstance(plugin, type) else type(plugin)
    return kind.__module__


def shared_roots(item: pytest.Item, hooks: Hooks) -> Iterator[tuple[Place, object]]:
    """Yield the objects on which any of *hooks* may note something for *item*, as places."""
    owners: list[tuple[tuple[str, int], Any]] = [
        *((("node", number), node) for number, node in enumerate(item.listchain())),
        (("config", 0), item.config),
    ]
    for step, owner in owners:
        yield (step,), owner
        if hooks.keys:  # else nobody but pytest has a key
            yield (step, ("a", "stash")), owner.stash


def _roots_of_plugin(impl: HookImpl) -> Iterator[tuple[Place, object]]:
    """Yield the plugin of *impl*, its class and the module of its function, as places."""
    plugin = impl.plugin
    yield (("plugin", impl.plugin_name),), plugin
    if not isinstance(plugin, ModuleType | type):
        yield (("class", impl.plugin_name),), type(plugin)
    module = _module_of_function(impl)
    if module is not None and module is not plugin:
        yield (("module", module.__name__),), module
    for sibling in _siblings(module if isinstance(module, ModuleType) else plugin):
        yield (("module", sibling.__name__),), sibling


def _siblings(module: object) -> list[ModuleType]:
    """Return the modules of the same package that *module* has imported as such."""
    if not isinstance(module, ModuleType):
        return []
    package, dot, _ = module.__name__.rpartition(".")
    return [
        value
        for value in vars(module).values()
        if dot and isinstance(value, ModuleType) and value.__name__.startswith(f"{package}.")
    ]


def _module_of_function(impl: HookImpl) -> ModuleType | None:
    function = getattr(impl.function, "__func__", impl.function)
    if not isinstance(function, FunctionType):
        return None
    module = sys.modules.get(str(function.__globals__.get("__name__")))
    return module if module is not None and vars(module) is function.__globals__ else None


def root(item: pytest.Item, kind: str, name: Any) -> object:  # noqa: ANN401  # JSON
    """Return the object at a place that `roots` has named. Raises LookupError, ValueError."""
    manager = item.config.pluginmanager
    match kind, name:
        case "node", int(number):
            return item.listchain()[number]
        case "config", _:
            return item.config
        case (("plugin" | "class"), str()):
            plugin = manager.get_plugin(name)
            if plugin is None or not is_others(_module_of(plugin)):
                raise LookupError(name)
            return type(plugin) if kind == "class" else plugin
        case "module", str() if is_others(name):
            return sys.modules[name]
        case _:
            raise ValueError(kind)


def attributes(owner: object) -> Mapping[str, Any] | None:
    """Return the attributes of *owner* that may be noted in, or `None` if it has none.

    Those of pytest's own objects that are pytest's are left out, and of modules and classes the
    functions: to look at one of those costs a page fault in a fork.
    """
    held: Mapping[str, Any] | None = getattr(owner, "__dict__", None)
    if held is None:
        return None
    if isinstance(owner, ModuleType | type):
        return {name: held[name] for name in _names_of_data(owner)}
    if isinstance(owner, pytest.Item | pytest.Collector | pytest.Config):
        return {name: held[name] for name in held.keys() - records.OWN_ATTRIBUTES}
    return dict(held)


def _names_of_data(owner: ModuleType | type) -> tuple[str, ...]:
    """Return the names in *owner* that are not of code; looked for again if there are more."""
    held = vars(owner)
    size, names = _data_names.get(id(owner), (-1, ()))
    if size != len(held):
        names = tuple(
            name
            for name, value in held.items()
            if not name.startswith("__") and (not isinstance(value, _CODE) or is_part(owner, value))
        )
        _data_names[id(owner)] = len(held), names
    return names


_CODE: Final = (
    *(FunctionType, BuiltinFunctionType, ModuleType, type),
    *(staticmethod, classmethod, property),
)
#: By the address of a module or class, which the plugin manager keeps: how many names it had, and
#: which of them are of data.
_data_names: dict[int, tuple[int, tuple[str, ...]]] = {}


def entries(owner: object) -> MutableMapping[Any, Any] | None:
    """Return the entries of a dict or a stash of pytest's, else `None`."""
    if isinstance(owner, dict | WeakKeyDictionary):
        return owner
    return records.stashed(owner) if isinstance(owner, pytest.Stash) else None


def is_part(owner: object, value: object) -> bool:
    """Return whether notes may be made in *value* as an attribute, an entry or member of *owner*.

    A class is a part of its module if it has data, and of nothing else.
    """
    kind = type(value)
    known = _books.get(kind)
    if known is None:
        known = _books[kind] = isinstance(value, _CONTAINERS) or is_made_by_others(value)
    if known or not isinstance(value, type):
        return known
    own = isinstance(owner, ModuleType) and value.__module__ == owner.__name__
    return own and bool(_names_of_data(value))


_CONTAINERS: Final = (dict, list, set, deque, StringIO, WeakKeyDictionary, pytest.Stash)
_books: dict[type, bool] = {}  #: kinds of objects, and whether notes may be made in them


def is_made_by_others(value: object) -> bool:
    """Return whether *value* is a plain object of a class that is neither pytest's nor Python's."""
    kind = type(value)
    return (
        is_others(kind.__module__)
        and hasattr(value, "__dict__")
        and kind.__new__ is object.__new__
        and not hasattr(kind, "__del__")
        and not isinstance(value, type | ModuleType | pytest.Item | pytest.Collector)
    )


def may_be_set(owner: object, name: str) -> bool:
    """Return whether a note may be an attribute *name* of *owner*."""
    if isinstance(owner, pytest.Item | pytest.Collector | pytest.Config):
        return name not in records.OWN_ATTRIBUTES and not hasattr(type(owner), name)
    now = vars(owner).get(name)
    return not name.startswith("__") and not isinstance(now, type | FunctionType | ModuleType)
