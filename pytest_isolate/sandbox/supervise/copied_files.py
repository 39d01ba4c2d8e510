"""The large files of the host that system calls of a sandbox were copying into memory.

overlayfs copies a file as a whole before anything of it changes: its text, name, mode or owner. One
that is larger than the memory leaves no copy to be found afterwards, only who has asked for it.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextlib import suppress
import os
import signal
import stat
import time
from typing import TYPE_CHECKING
from typing import Final

from pytest_isolate.sandbox.linux import libc
from pytest_isolate.sandbox.linux import mountinfo
from pytest_isolate.sandbox.linux import procfs
from pytest_isolate.sandbox.supervise.snapshot import Large

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Iterator

_SMALLEST: Final = 1 << 20  #: bytes of a file that is named
_SECONDS: Final = 0.5  #: how long the system calls may take to end, all together
_MOST_THREADS: Final = 64  #: of a process
_PAUSE: Final = 0.001
_PATH_LIMIT: Final = 4096
#: States of a process that is stopped already, dead or gone: not by us, and not for us to wake.
_ASLEEP: Final = frozenset({"T", "t", "Z", "X", ""})
_DESCRIPTORS: Final = 1 << 16  #: an argument below that is no address
#: The numbers of the system calls that open a file, by the place of their flags.
_OPEN: Final = {"x86_64": {2: 1, 257: 2}, "aarch64": {56: 2}}
#: And of those that change one: its name, mode, owner, size, times or attributes.
_CHANGE: Final = {
    "x86_64": frozenset({
        *(76, 77, 82, 85, 86, 90, 91, 92, 93, 94, 132, 188, 189, 190, 235, 260, 261, 264, 265),
        *(268, 280, 285, 316, 437, 452),
    }),
    "aarch64": frozenset({
        *(5, 6, 7, 37, 38, 45, 46, 47, 52, 53, 54, 55, 88, 276, 437, 452),
    }),
}


def being_copied(pids: Iterable[int]) -> tuple[Large, ...]:
    """Return the large files that system calls of the processes *pids* ask for now.

    A system call that copies seldom waits, and only of one that waits or has just ended the kernel
    tells the arguments. So each process is stopped, for a moment, where its call ends.
    """
    found: dict[str, Large] = {}
    end = time.monotonic() + _SECONDS
    for pid in pids:
        with suppress(OSError), _stopped(pid):
            for task in os.listdir(f"/proc/{pid}/task")[:_MOST_THREADS]:
                with suppress(OSError, ValueError, IndexError):
                    for large in _asked_for(pid, _call(f"/proc/{pid}/task/{task}", end)):
                        found[large.path] = large
    return tuple(found.values())


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    if procfs.state_of(pid) in _ASLEEP:
        yield
        return
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _call(task: str, end: float) -> list[str]:
    """Return the system call of *task* and its arguments, as soon as it stops or waits."""
    while True:
        with open(f"{task}/syscall", encoding="utf-8") as file:
            words = file.read().split()
        if words != ["running"] or time.monotonic() > end:
            return words
        time.sleep(_PAUSE)


def _asked_for(pid: int, call: list[str]) -> Iterator[Large]:
    """Yield the large plain files that a path or a descriptor among the arguments leads to."""
    number, arguments = int(call[0]), [int(word, 16) for word in call[1:5]]
    if not _changes(number, arguments):
        return
    descriptors = {fd for fd in arguments if fd < _DESCRIPTORS}
    addresses = [address for address in arguments if address >= _DESCRIPTORS]
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        places = [_string(memory.fileno(), address) for address in addresses]
    for place in filter(None, places):
        for base in ("cwd", *(f"fd/{fd}" for fd in descriptors)):
            with suppress(OSError):
                yield from _large(pid, os.path.join(os.readlink(f"/proc/{pid}/{base}"), place))
    for fd in descriptors:
        with suppress(OSError):
            yield from _large(pid, os.readlink(f"/proc/{pid}/fd/{fd}"))


def _changes(number: int, arguments: list[int]) -> bool:
    """Return whether the system call *number* makes overlayfs copy what it names."""
    machine = os.uname().machine
    place = _OPEN.get(machine, {}).get(number)
    if place is not None:
        return bool(arguments[place] & (os.O_WRONLY | os.O_RDWR | os.O_TRUNC))
    return number in _CHANGE.get(machine, ())


def _string(memory: int, address: int) -> str:
    try:
        return os.fsdecode(os.pread(memory, _PATH_LIMIT, address).partition(b"\0")[0])
    except (OSError, OverflowError):
        return ""


def _large(pid: int, path: str) -> Iterator[Large]:
    """Yield the file *path* of process *pid*, if it is large and behind an overlay.

    A link is not followed, and another file system not gone to: it may be a program of the test's
    that lets whoever looks wait.
    """
    inside = os.path.normpath(path)
    with suppress(OSError, ValueError):
        if not _is_on_overlay(pid, inside):
            return
        root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_CLOEXEC)
        try:
            status = _status(root, inside)
        finally:
            os.close(root)
        if stat.S_ISREG(status.st_mode) and status.st_size >= _SMALLEST:
            yield Large(path=inside, size=status.st_size, of_host=True, copying=True)


def _status(root: int, path: str) -> os.stat_result:
    resolve = libc.RESOLVE_IN_ROOT | libc.RESOLVE_NO_MAGICLINKS | libc.RESOLVE_NO_SYMLINKS
    fd = libc.openat2(root, path, os.O_PATH | os.O_CLOEXEC, resolve=resolve)
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)


def _is_on_overlay(pid: int, path: str) -> bool:
    """Return whether *path*, without links, is on an overlay that process *pid* sees there."""
    mount = mountinfo.holding(path, mountinfo.of(pid))
    return mount is not None and mount.fstype == "overlay"
