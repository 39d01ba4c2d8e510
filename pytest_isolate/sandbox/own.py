"""A directory of the host's of which each sandbox has one of its own, on the same disk.

What a sandbox writes there goes to a *store*, a directory below the host's: it is all that is
seen inside, or the upper layer of an overlay on what the host has. A test says in the store's
*register* which directories are to stay: while it runs, links lead to them from where they belong,
and afterwards they are moved there. The rest goes with the sandbox.

No test is trusted: it may have written anything into the register, and made anything of what it
names there.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import count
import os
import stat
from typing import TYPE_CHECKING
from typing import Final
from typing import NamedTuple

from pytest_isolate.sandbox import scratch

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Where the stores are, below the host's directory.
STORES: Final = ".isolate"
_PRIVATE: Final = 0o700
_MOST_DIGITS: Final = 9
_REGISTER_LIMIT: Final = 16 * 1024 * 1024  #: bytes
#: Of a directory that was made in an overlay, see Documentation/filesystems/overlayfs.rst.
_MARKS: Final = ("trusted.overlay.", "user.overlay.")


class Made(NamedTuple):
    """A directory that is to stay, `PREFIX` and `NUMBER`."""

    prefix: str
    number: int

    @property
    def name(self) -> str:
        """Its name."""
        return f"{self.prefix}{self.number}"

    @property
    def link(self) -> str:
        """The name of the link that leads to the newest one of its prefix, as pytest has it."""
        return f"{self.prefix}current"

    def entry(self) -> bytes:
        """Return what a register says of it."""
        return os.fsencode(f"{self.number} {self.prefix}\0")


def make(top: str) -> str:
    """Make a store for the sandbox's own *top*, and return its path; raise `OSError`."""
    stores = f"{top}/{STORES}"
    try:
        os.mkdir(stores, _PRIVATE)
    except FileExistsError:
        pass
    except OSError as error:
        raise OSError(error.errno, f"mkdir: {error.strerror}", stores) from None
    return scratch.make(stores)


def upper(store: str) -> str:
    """Return the path of what the sandbox writes to."""
    return f"{store}/upper"


def work(store: str) -> str:
    """Return the path of overlayfs's own directory."""
    return f"{store}/work"


def open_register(store: str) -> int:
    """Return a descriptor of the register of *store*; processes may write to it at once."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(f"{store}/made", flags, 0o600)


def read_register(register: int, position: int = 0) -> tuple[list[Made], int]:
    """Return what *register* says from *position* on, and where that ends."""
    data = os.pread(register, _REGISTER_LIMIT, position)
    end = data.rfind(b"\0") + 1
    made = [one for entry in data[:end].split(b"\0") if (one := _parse(entry)) is not None]
    return made, position + end


def _parse(entry: bytes) -> Made | None:
    number, space, prefix = entry.partition(b" ")
    if not space or not number.isdigit() or len(number) > _MOST_DIGITS or b"/" in prefix:
        return None
    return Made(os.fsdecode(prefix), int(number))


def show(store: str, top: str, made: Iterable[Made]) -> None:
    """Let links in *top* lead to what is *made* in *store*."""
    for one in made:
        source, target = f"{upper(store)}/{one.name}", f"{top}/{one.name}"
        with suppress(OSError):
            if os.path.lexists(source):
                os.symlink(source, target)
                _point(f"{top}/{one.link}", target)


def _point(link: str, to: str) -> None:
    if os.path.islink(link):
        os.unlink(link)
    os.symlink(to, link)


def settle(store: str, top: str, made: Iterable[Made]) -> None:
    """Move what is *made* in *store* to where it belongs in *top*."""
    for one in made:
        source, target = f"{upper(store)}/{one.name}", f"{top}/{one.name}"
        with suppress(OSError):
            if os.path.islink(target) and os.readlink(target) == source:
                os.unlink(target)
            if stat.S_ISDIR(os.lstat(source).st_mode):
                _move(source, _free(top, one))


def _free(top: str, made: Made) -> str:
    """Return the path of *made* in *top*, or of the next that nobody has taken meanwhile."""
    paths = (f"{top}/{made.prefix}{number}" for number in count(made.number))
    return next(path for path in paths if not os.path.lexists(path))


def _move(source: str, target: str) -> None:
    try:
        os.rename(source, target)
    except PermissionError:
        # Who moves a directory writes to it, to its `..`; the test may have closed it.
        mode = stat.S_IMODE(os.lstat(source).st_mode)
        os.chmod(source, mode | _PRIVATE)
        os.rename(source, target)
        os.chmod(target, mode)
    with suppress(OSError):  # no attributes here
        for name in os.listxattr(target, follow_symlinks=False):
            if name.startswith(_MARKS):
                os.removexattr(target, name, follow_symlinks=False)


def give_back(store: str, top: str) -> None:
    """Remove *store*, and the directory of all stores if it was the last.

    What is to stay is moved to *top* first if nobody has done that.
    """
    if not _is_empty(store):
        _rescue(store, top)
        clear(upper(store))
        clear(work(store))
    _remove(f"{store}/made")
    _remove(store)
    if os.path.lexists(store):
        clear(store)
    with suppress(OSError):
        os.rmdir(os.path.dirname(store))


def _is_empty(store: str) -> bool:
    """Return whether nothing was in *store* but its register; what is written to is gone then."""
    try:
        os.rmdir(upper(store))
    except OSError:
        return False
    return True


def _rescue(store: str, top: str) -> None:
    with suppress(OSError):
        register = os.open(f"{store}/made", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            made, _ = read_register(register)
        finally:
            os.close(register)
        settle(store, top, made)


def clear(path: str) -> None:
    """Remove what lies at *path*, as far as that can be done."""
    # Without shutil, whose import takes longer than most of what is removed here.
    if os.path.isdir(path) and not os.path.islink(path):
        # From the deepest up, so that a directory is empty when its turn comes.
        for place, directories, files in os.walk(path, topdown=False):
            for name in (*files, *directories):
                _remove(f"{place}/{name}")
    _remove(path)
    if os.path.lexists(path):
        with suppress(OSError):
            scratch.remove(path)


def _remove(path: str) -> None:
    with suppress(OSError):
        if stat.S_ISDIR(os.lstat(path).st_mode):
            os.rmdir(path)
        else:
            os.unlink(path)
