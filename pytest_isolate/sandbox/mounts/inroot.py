"""Places inside a root that is being put together, and never outside of it.

A root may be a directory that anybody wrote, with `etc` a symbolic link to the host's `/etc`.
Whatever is made or mounted there is found by openat2(2), for which the new root is `/`, and is
then named by a descriptor, so that no link can lead out. On a file system that the plan itself
mounted empty there are no links but the plan's; if none leads there either, a plain path will do,
for half the cost.
"""

from __future__ import annotations

import errno
import os
from typing import Final
from typing import final

from pytest_isolate.sandbox.linux import libc

_RESOLVE: Final = libc.RESOLVE_IN_ROOT | libc.RESOLVE_NO_MAGICLINKS
_MAX_LINKS: Final = 40  # as the kernel's own limit, see path_resolution(7)
_MAX_RACES: Final = 1000


@final
class NewRoot:
    """The root below *path*, a directory. Close it after use."""

    def __init__(self, path: str) -> None:
        self._path: Final = "" if path == "/" else path
        self._fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        self._held = -1
        self._own: Final[dict[str, bool]] = {"/": False}
        self._links: Final[set[str]] = set()

    def close(self) -> None:
        """Give back the descriptors."""
        for fd in (self._held, self._fd):
            if fd != -1:
                os.close(fd)
        self._held = self._fd = -1

    def mounted(self, target: str, *, empty: bool) -> None:
        """Note that *target*, just made, was mounted on: *empty*, or with files."""
        self._own[target] = empty and self._is_literal(target)
        if target == "/":
            os.close(self._fd)
            self._fd = os.open(self._path or "/", os.O_PATH | os.O_CLOEXEC)

    def is_own(self, target: str) -> bool:
        """Return whether *target* lies on a file system that only the plan has written to."""
        while target not in self._own:
            if target in self._links:
                return False
            target = _above(target)
        return self._own[target]

    def make(self, target: str, *, directory: bool, mode: int | None = None) -> str:
        """Make *target* and the directories above it, as far as they are missing.

        Return a path for it that is good until the next call.
        """
        if self._is_plain(target):
            path = self._path + target
            if os.access(path, os.F_OK):
                return path
            if os.access(self._path + _above(target), os.F_OK):
                _make(path, None, directory=directory, mode=mode)
                return path
        return self._hold(self._open(target, directory=directory, mode=mode))

    def find(self, target: str) -> str:
        """Return a path for *target*, which exists; it is good until the next call."""
        if self._is_plain(target):
            return self._path + target
        return self._hold(self._resolve(target))

    def new(self, target: str) -> str:
        """Return a path at which *target* can be made; it is good until the next call."""
        above = _above(target)
        name = target[target.rfind("/") + 1 :]
        return f"{self.make(above, directory=True)}/{name}"

    def link(self, target: str, to: str) -> None:
        """Make *target* a symbolic link unless something is there."""
        try:
            os.symlink(to, self.new(target))
        except FileExistsError:
            return
        self._links.add(target)

    def _is_plain(self, target: str) -> bool:
        return target != "/" and target not in self._links and self.is_own(_above(target))

    def _is_literal(self, target: str) -> bool:
        """Return whether no symbolic link led to *target* when it was last made or found."""
        if target == "/" or self._is_plain(target):
            return True
        return os.readlink(f"/proc/self/fd/{self._held}") == self._path + target

    def _hold(self, fd: int) -> str:
        if self._held != -1:
            os.close(self._held)
        self._held = fd
        return f"/proc/self/fd/{fd}"

    def _resolve(self, target: str) -> int:
        flags = os.O_PATH | os.O_CLOEXEC
        for _ in range(_MAX_RACES):
            try:
                return libc.openat2(self._fd, target, flags, resolve=_RESOLVE)
            except BlockingIOError:
                # Somebody on this machine mounted or renamed while a `..` was walked.
                continue
        return libc.openat2(self._fd, target, flags, resolve=_RESOLVE)

    def _open(self, target: str, *, directory: bool, mode: int | None, links: int = 0) -> int:
        try:
            return self._resolve(target)
        except FileNotFoundError:
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), target) from None
        above, name = os.path.split(target)
        parent = self._open(above, directory=True, mode=None, links=links)
        try:
            _make(name, parent, directory=directory, mode=mode)
        except FileExistsError:
            # A link that leads nowhere: what it names is what is missing.
            to = os.path.normpath(os.path.join(above, os.readlink(name, dir_fd=parent)))
            return self._open(to, directory=directory, mode=mode, links=links + 1)
        finally:
            os.close(parent)
        return self._resolve(target)


def _above(target: str) -> str:
    return target[: target.rfind("/")] or "/"


def _make(name: str, parent: int | None, *, directory: bool, mode: int | None) -> None:
    if directory:
        os.mkdir(name, 0o755 if mode is None else mode, dir_fd=parent)
    else:
        os.mknod(name, 0o644 if mode is None else mode, dir_fd=parent)
