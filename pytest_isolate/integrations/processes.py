"""Plugins that hold on to a process by its id, which in a sandbox is another one's."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING
from typing import Any

from pytest_isolate._compat import hookimpls
from pytest_isolate.integrations.presence import registered

if TYPE_CHECKING:
    import pytest


def enter(config: pytest.Config) -> None:
    """Keep ids of processes in and out of this process, a test's."""
    if xprocess := registered(config, "xprocess.pytest_xprocess"):
        _keep_apart(xprocess)
    if monitor := registered(config, "pytest_monitor.pytest_monitor"):
        # It measures the process that it was loaded in.
        monitor.PYTEST_MONITORING_ENABLED = False
        hookimpls.unhook(config, ("pytest_pyfunc_call",), lambda plugin: plugin is monitor)


def _keep_apart(xprocess: Any) -> None:  # noqa: ANN401  # the plugin's module
    """Let pytest-xprocess note the processes of this sandbox where nobody looks for others'.

    In pytest's cache the next run would take a process of the machine for one of them.
    """
    original = xprocess.getrootdir

    def own(config: pytest.Config) -> Any:  # noqa: ANN401  # a path of a kind of its own
        kind = type(original(config))
        return kind(tempfile.mkdtemp(prefix="xprocess-"))

    xprocess.getrootdir = own
