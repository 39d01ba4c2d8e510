"""Other distributions that claim names of ours, and the refusal to run beside them.

PyPI's `pytest-isolate` installs files into the same import package, among them `plugin.py`, and
adds the same options; whichever was installed last has overwritten the other. Its files do not
include this one, so this module is an entry point of its own: it is loaded before the plugin's
and can still speak where `pytest_isolate.plugin` has become another's, or has left with it.
"""

from __future__ import annotations

from importlib import metadata
from importlib import util
from typing import Final

import pytest

#: What each of them has in common with us.
_RIVALS: Final = {
    "pytest-isolate": "both own the import package pytest_isolate and the option --isolate",
    "pytest-isolated": "both own the marker isolated",
}
#: How to be rid of them. Uninstalling pytest-isolate takes our files of the same names along.
_MENDS: Final = {
    "pytest-isolate": "pip uninstall -y pytest-isolate pytest-hermetic"
    " && pip install pytest-hermetic",
    "pytest-isolated": "pip uninstall pytest-isolated",
}


def pytest_addoption(pluginmanager: pytest.PytestPluginManager) -> None:
    """Refuse a rival before any option clashes with its own."""
    refuse(pluginmanager)


def refuse(pluginmanager: pytest.PytestPluginManager) -> None:
    """Raise UsageError if a rival is installed, or has damaged this installation.

    `-p no:isolate` is the way to run with the rival: then there is nothing to refuse.
    """
    if not pluginmanager.is_blocked("isolate") and (line := complaint()):
        raise pytest.UsageError(line)


def complaint() -> str:
    """Return one line on what is in the way of this plugin, or ""."""
    for name, reason in _RIVALS.items():
        if (version := _version(name)) is not None:
            found = f"{name} {version}".rstrip()
            return (
                f"{found} is installed and cannot be used together with pytest-hermetic:"
                f" {reason}; run: {_MENDS[name]}"
            )
    if util.find_spec("pytest_isolate.plugin") is None:
        return (
            "pytest-hermetic is damaged: pytest_isolate/plugin.py is missing, as after"
            " uninstalling pytest-isolate; run: pip install --force-reinstall pytest-hermetic"
        )
    return ""


def _version(name: str) -> str | None:
    """Return the version of the installed distribution *name*, "" if it says none."""
    try:
        fields = metadata.distribution(name).metadata
        return next(iter(fields.get_all("Version") or ()), "")
    except metadata.PackageNotFoundError:
        return None
