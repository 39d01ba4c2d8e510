"""pytest's function that runs the phases of an item, replaced for a session.

pytest's own `pytest_runtest_protocol` calls it, and so do plugins that run a test again. So all
implementations of that hook are called in pytest's order, and only the test itself goes elsewhere.
"""

from __future__ import annotations

from functools import partial
import sys
from types import ModuleType
from typing import TYPE_CHECKING
from typing import Final

from pytest_isolate._compat import hookimpls
from pytest_isolate._compat import phases

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

_NAME: Final = "runtestprotocol"


def take_over(config: pytest.Config, protocol: Callable[..., list[pytest.TestReport]]) -> None:
    """Let *protocol* be called by all plugins that would call pytest's, until the session ends."""
    original = phases.running_protocol()
    for plugin in config.pluginmanager.get_plugins():
        module = plugin if isinstance(plugin, ModuleType) else _module_of(plugin)
        if getattr(module, _NAME, None) is original:
            setattr(module, _NAME, protocol)
            config.add_cleanup(partial(setattr, module, _NAME, original))


def runners(config: pytest.Config) -> list[str]:
    """Return the names of the plugins that may run an item by themselves."""
    return [
        impl.plugin_name
        for impl in config.hook.pytest_runtest_protocol.get_hookimpls()
        if not (impl.wrapper or impl.hookwrapper or hookimpls.is_pytests(impl.plugin))
    ]


def _module_of(plugin: object) -> ModuleType | None:
    return sys.modules.get(type(plugin).__module__)
