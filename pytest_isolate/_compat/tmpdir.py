"""The directories that pytest makes: temporary ones, and its cache."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
import os
import tempfile
from typing import TYPE_CHECKING
from typing import Any

from _pytest.pathlib import _force_symlink
from _pytest.tmpdir import get_user

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Collection
    from collections.abc import Iterator
    from pathlib import Path

    import pytest


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
