"""Directories of other plugins that outlive a test: what is written there gets out."""

from __future__ import annotations

from contextlib import suppress
import os
from pathlib import Path
import stat
import tempfile
from types import ModuleType
from typing import TYPE_CHECKING
from typing import Any
from typing import Final

from pytest_isolate.integrations.presence import registered

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Iterator
    from collections.abc import Sequence

    import pytest

#: Options that name a directory for results, by the module of the plugin.
_FOR_RESULTS: Final = {
    "allure_pytest.plugin": ("allure_report_dir",),
    "pytest_memray.plugin": ("memray_bin_path",),
    "pytest_mpl.plugin": ("mpl_generate_path", "mpl_results_path"),
    "pytest_playwright.pytest_playwright": ("output",),
}


def of_options(config: pytest.Config) -> Iterator[str]:
    """Yield the directories that options name for the results of tests, made if need be."""
    for module, names in _FOR_RESULTS.items():
        for name in names if registered(config, module) else ():
            if value := getattr(config.option, name, None):
                path = config.invocation_params.dir / str(value)
                with suppress(OSError):  # the plugin's own trouble
                    path.mkdir(parents=True, exist_ok=True)
                    yield os.fspath(path)


def temporary(config: pytest.Config) -> Iterator[str]:
    """Yield the temporary directories that other plugins have made for the session.

    A sandbox's temporary directory is its own: they would not be there.
    """
    plugins = [one for one in config.pluginmanager.get_plugins() if not _is_of_the_suite(one)]
    yield from _kept_by(config, plugins)


def of_suite(config: pytest.Config, items: Sequence[pytest.Item]) -> Iterator[str]:
    """Yield the temporary directories that conftests and modules of *items* have made at import."""
    modules = [one for one in config.pluginmanager.get_plugins() if _is_of_the_suite(one)]
    modules += {id(one): one for one in map(_module_of, items)}.values()
    yield from _kept_by(config, [one for one in modules if isinstance(one, ModuleType)])


def _module_of(item: pytest.Item) -> object:
    return getattr(item, "module", None)


def _kept_by(config: pytest.Config, owners: Iterable[object]) -> Iterator[str]:
    """Yield the temporary directories that attributes of *owners* name, or that these are in."""
    top = os.path.realpath(tempfile.gettempdir())
    for value in (value for owner in owners for value in _attributes(owner)):
        path = value.name if isinstance(value, tempfile.TemporaryDirectory) else value
        if not isinstance(path, str | Path) or not os.path.isabs(path):  # noqa: PTH117  # many are text
            continue
        inner = os.path.relpath(os.path.realpath(path), top)
        made = f"{top}/{Path(inner).parts[0]}" if inner != "." else top
        if _is_made_by_mkdtemp(made) and not config.rootpath.is_relative_to(made):
            yield made


def _is_made_by_mkdtemp(path: str) -> bool:
    """Return whether *path*, in the temporary directory, looks like one of `tempfile.mkdtemp`."""
    if Path(path).name.startswith(("..", "pytest-of-")):
        return False
    with suppress(OSError, ValueError):
        found = os.lstat(path)
        return (
            stat.S_ISDIR(found.st_mode)
            and stat.S_IMODE(found.st_mode) == stat.S_IRWXU
            and found.st_uid == os.geteuid()
        )
    return False


def _attributes(plugin: object) -> list[Any]:
    return list(getattr(plugin, "__dict__", {}).values())


def _is_of_the_suite(plugin: object) -> bool:
    """Return whether *plugin* is a conftest, a part of pytest, or ours."""
    name = plugin.__name__ if isinstance(plugin, ModuleType) else type(plugin).__module__
    file = getattr(plugin, "__file__", None) or ""
    own = name.partition(".")[0] in {"_pytest", "pytest", "pytest_isolate"}
    return own or Path(file).name == "conftest.py" or name.endswith("conftest")
