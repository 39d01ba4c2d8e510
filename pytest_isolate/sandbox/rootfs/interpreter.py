"""What a running interpreter needs of the host to go on importing in another root."""

from __future__ import annotations

import ctypes
from functools import cache
import os
import sys
import sysconfig
from typing import TYPE_CHECKING
from typing import Final

from pytest_isolate.sandbox.linux import elf

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Iterator

#: Too much to bring along: they hold a root's own programs and libraries, or everybody's files.
_NOT_WHOLE: Final = frozenset({
    "/",
    "/bin",
    "/dev/shm",  # noqa: S108
    "/etc",
    "/home",
    "/lib",
    "/lib64",
    "/opt",
    "/run",
    "/sbin",
    "/srv",
    "/tmp",  # noqa: S108
    "/usr",
    "/usr/bin",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local",
    "/usr/local/bin",
    "/usr/local/lib",
    "/usr/local/sbin",
    "/usr/sbin",
    "/var",
    "/var/tmp",  # noqa: S108
})
_MAX_LINKS: Final = 40

#: Opened by name at run time: thread cancellation and stack traces need it.
_UNWINDER: Final = "libgcc_s.so.1"
_NAME_SERVICES: Final = ("passwd:", "group:", "hosts:")


def interpreter_paths() -> tuple[str, ...]:
    """Return the directories and files that imports may come from, and the interpreter's own.

    As few as cover all. A path that leads over symbolic links is there with and without them.
    """
    candidates = (*_trees(), *_import_path(), *_editable_installs(), *_executables())
    both = {path for c in candidates for path in (os.path.abspath(c), os.path.realpath(c))}
    kept: list[str] = []
    for path in sorted(both - _NOT_WHOLE):
        is_covered = any(path.startswith(f"{top}/") for top in kept)
        if not is_covered and os.path.exists(path):
            kept.append(path)
    return tuple(kept)


def _trees() -> Iterator[str]:
    """Return the installations as a whole, unless they share their tree with the system."""
    yield from {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix}
    paths = sysconfig.get_paths()
    yield from (paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))


def _import_path() -> Iterator[str]:
    yield from (path or os.getcwd() for path in sys.path)


def _editable_installs() -> Iterator[str]:
    """Return where packages lie that are found by an import hook and not by `sys.path`."""
    for name, module in list(sys.modules.items()):
        if name.startswith("__editable__"):  # setuptools' finders
            yield from getattr(module, "MAPPING", {}).values()
        elif "." not in name:
            yield from (p for p in getattr(module, "__path__", ()) if isinstance(p, str))


def _executables() -> Iterator[str]:
    """Return the interpreter and each link on the way to it."""
    for start in {sys.executable, getattr(sys, "_base_executable", sys.executable)}:
        path = start
        for _ in range(_MAX_LINKS):
            if not path:
                break
            yield path
            if not os.path.islink(path):
                break
            path = os.path.join(os.path.dirname(path), os.readlink(path))


@cache
def needed_libraries() -> tuple[str, ...]:
    """Return the sonames of the system's libraries that installed extension modules link to.

    In another root the loader would find that root's libraries under these names, or none. What
    is loaded already, it does not look for. Libraries that a package brings along are not named.
    """
    names = {_UNWINDER, *_name_service_modules()}
    brought_along: set[str] = set()
    for path in _shared_objects({os.path.realpath(path) for path in _import_path()}):
        wanted = elf.wants(path)
        brought_along.add(os.path.basename(path))
        names.update(
            name
            for name in wanted.libraries
            if not any(os.path.exists(f"{place}/{name}") for place in wanted.places)
        )
    return tuple(sorted(names - brought_along))


def _name_service_modules() -> Iterator[str]:
    """Return the modules that getaddrinfo(3) and getpwnam(3) open, see nsswitch.conf(5)."""
    try:
        with open("/etc/nsswitch.conf", encoding="utf-8", errors="replace") as lines:
            fields = [line.partition("#")[0].split() for line in lines]
    except OSError:
        return
    for database, *services in filter(None, fields):
        if database in _NAME_SERVICES:
            yield from (f"libnss_{name}.so.2" for name in services if not name.startswith("["))


def _shared_objects(places: Iterable[str]) -> Iterator[str]:
    for place in places:
        if place in _NOT_WHOLE:
            continue
        for directory, below, files in os.walk(place):
            below[:] = [name for name in below if not _is_skipped(name)]
            yield from (f"{directory}/{name}" for name in files if ".so" in name)


def _is_skipped(directory: str) -> bool:
    # A virtual environment's import path has the standard library, which may hold packages that
    # are not on the path. Those that are, are walked by themselves.
    return directory.startswith((".", "__")) or directory in {"site-packages", "dist-packages"}


def preload(names: Iterable[str]) -> None:
    """Load the libraries *names* into this process, as far as they can be found."""
    for name in names:
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
