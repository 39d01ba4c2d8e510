"""The moment at which a sandbox reaches its memory cap, held long enough to be looked at.

The kernel's OOM killer leaves a corpse and no time. An armed group stops a little before: whoever
waits for the process is told, looks at it, and then lets the kernel decide. The kernel still
chooses whom it kills, and counts it.

On version 2 the cap is `memory.high`, where the kernel slows the group down and tells, and
`memory.max` lies a margin above it. On version 1 a threshold rings at the cap, and the limit lies
above it, with the OOM killer off: who needs still more waits there. Either way nobody lives above
the cap: in the end it is the limit again, and the kernel drops what it can and kills if it must.

This is the side of who waits. The keeper arms the groups, see `v1` and `v2`.
"""

from __future__ import annotations

from abc import ABC
from abc import abstractmethod
from contextlib import suppress
import errno
import os
import select
from typing import TYPE_CHECKING
from typing import Final
from typing import Protocol
from typing import final

from pytest_isolate.sandbox.cgroups.oom_terms import DENIALS
from pytest_isolate.sandbox.cgroups.oom_terms import DIRECTORY
from pytest_isolate.sandbox.cgroups.oom_terms import EVENT
from pytest_isolate.sandbox.cgroups.oom_terms import legacy_margin
from pytest_isolate.sandbox.cgroups.oom_terms import unified_margin

if TYPE_CHECKING:
    from collections.abc import Mapping

#: What a file of a removed group answers: by its name, and where it is open.
GROUP_IS_GONE: Final = frozenset({errno.ENOENT, errno.ENODEV})
_TRIES: Final = 3
_LONGEST: Final = 1 << 16


class OomNotifier(Protocol):
    """What rings at the memory cap of a sandbox, and what can be done then. Raises `OSError`."""

    @property
    def fd(self) -> int:
        """The descriptor to poll for `mask`."""

    @property
    def fds(self) -> tuple[int, ...]:
        """All descriptors."""

    @property
    def mask(self) -> int:
        """The events of poll(2) that mean that it rings."""

    @property
    def denies(self) -> bool:
        """Whether memory was denied to a process that has gone on without it."""

    @property
    def is_near(self) -> bool:
        """Whether to ask `is_real` again soon, as nothing will ring."""

    def is_real(self) -> bool:
        """Silence it, and return whether the cap is exceeded."""

    def grant_headroom(self) -> None:
        """Let the processes that wait for memory go on a little."""

    def enforce(self) -> None:
        """Let the kernel kill whom it wants if anybody needs more memory."""

    def enforce_now(self) -> None:
        """Let the kernel kill if the cap is still exceeded, or note that it has denied memory."""

    def arm(self) -> None:
        """Be ready to ring once more, after it was let decide."""

    def usage(self) -> int:
        """Return how much memory is in use now, in bytes: none, if the group was removed."""

    def statistics(self) -> Mapping[str, int]:
        """Return the same by the kernel's names for its kinds."""

    def close(self) -> None:
        """Close the descriptors."""


class _Files(ABC):
    """The directory of a group, by descriptor: its path may be another process's."""

    def __init__(self, descriptors: Mapping[str, int], version: str) -> None:
        self.fd = descriptors[f"{version}.{EVENT}"]
        self._directory = descriptors[f"{version}.{DIRECTORY}"]

    @abstractmethod
    def usage(self) -> int:
        """Return how much memory is in use."""

    @abstractmethod
    def statistics(self) -> Mapping[str, int]:
        """Return `memory.stat`."""

    def exceeds(self, cap: int, tolerance: int) -> bool:
        """Return whether more than *cap* is in use that the kernel cannot drop.

        What it can drop it does drop before it kills, but not all of it at once; above *tolerance*
        more than the cap it is asked to.
        """
        excess = self.usage() - cap
        if excess <= 0:
            return False
        found = self.statistics()
        droppable = found.get("active_file", 0) + found.get("inactive_file", 0)
        return excess >= min(droppable, tolerance)

    def look(self, name: str) -> str:
        """Return what the file *name* says; nothing if the group, or the file, is not there.

        A keeper that leaves removes the group of a process that may still be looked at.
        """
        try:
            return self.read(name)
        except OSError as error:
            if error.errno not in GROUP_IS_GONE:
                raise
            return ""

    def read(self, name: str) -> str:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._directory)
        try:
            return os.read(fd, _LONGEST).decode()
        finally:
            os.close(fd)

    def write(self, name: str, number: int) -> None:
        fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=self._directory)
        try:
            os.write(fd, b"%d" % number)
        finally:
            os.close(fd)

    @property
    def fds(self) -> tuple[int, ...]:
        """The descriptors, which are no business of the sandbox's."""
        return (self.fd, self._directory)

    def close(self) -> None:
        """Close the descriptors."""
        for fd in self.fds:
            os.close(fd)


@final
class LegacyNotifier(_Files):
    """Version 1: a threshold of usage, and the OOM killer, which is off until it may kill."""

    mask: Final = select.POLLIN

    def __init__(self, descriptors: Mapping[str, int], cap: int) -> None:
        super().__init__(descriptors, "v1")
        self._denials = descriptors[f"v1.{DENIALS}"]
        self._cap = cap
        self._limit = cap + legacy_margin(cap)
        self._denied = False
        self._was_reached = False
        self.is_near = False

    @property
    def denies(self) -> bool:
        """Whether memory was denied to a process that has gone on without it.

        Only a page fault in a program waits for memory; a write(2) to a tmpfs fails with ENOMEM.
        """
        # An outer group that is out of memory rings here as well: then this one's limit was not
        # reached. Not by the usage: what was in use may be gone with the exception of the denial.
        self._denied |= _take(self._denials) and int(self.read("memory.failcnt")) > 0
        return self._denied

    def is_real(self) -> bool:
        """Silence it, and return whether the cap is exceeded.

        It rings once for files in the page cache, which make way for others without a sound. Those
        may be a copy of them that a system call fills, and that is denied memory in the end.
        """
        was_near, tolerance = self.is_near, legacy_margin(self._cap)
        if not _take(self.fd) and not was_near:
            return False
        real = self.denies or self.exceeds(self._cap, self._limit if was_near else tolerance)
        self.is_near = not real and self.usage() > self._cap
        return real

    def grant_headroom(self) -> None:
        """Raise the limit: who waits is woken, with room to return from its page fault."""
        self._limit = min(
            self._limit + legacy_margin(self._cap), self._cap + 3 * legacy_margin(self._cap)
        )
        self.write("memory.limit_in_bytes", self._limit)

    def enforce(self) -> None:
        """Lower the limit as far as it goes and switch the OOM killer on, for the next in need."""
        self._was_reached = int(self.read("memory.failcnt")) > 0
        for _ in range(_TRIES):
            with suppress(OSError):  # EBUSY: more than that is in use
                self.write("memory.limit_in_bytes", max(self._cap, self.usage()))
                break
        self.write("memory.oom_control", 0)

    def enforce_now(self) -> None:
        """Note a denial: this version does not kill for a limit that is lowered.

        A write(2) that is denied memory returns how much it has written, and that stays in use.
        """
        self._denied |= self._was_reached and self.exceeds(self._cap, self._limit)

    def arm(self) -> None:
        """Raise the limit, which takes that the memory is free, and switch the OOM killer off."""
        self._limit = self._cap + legacy_margin(self._cap)
        self.write("memory.limit_in_bytes", self._limit)
        self.write("memory.oom_control", 1)
        self._denied = False
        # A kill rings as well.
        _take(self._denials)
        _take(self.fd)

    def usage(self) -> int:
        """Return how much memory is in use."""
        return int(self.look("memory.usage_in_bytes") or 0)

    def statistics(self) -> Mapping[str, int]:
        """Return `memory.stat`; kernel memory is counted in a file of its own."""
        found = parse_statistics(self.look("memory.stat"))
        if kernel := self.look("memory.kmem.usage_in_bytes"):  # the kernel may not count it
            found["kernel"] = int(kernel)
        return found

    @property
    def fds(self) -> tuple[int, ...]:
        """The descriptors."""
        return (*super().fds, self._denials)


def _take(eventfd: int) -> bool:
    """Reset *eventfd*, and return whether it was set."""
    try:
        os.eventfd_read(eventfd)
    except BlockingIOError:
        return False
    return True


@final
class UnifiedNotifier(_Files):
    """Version 2: `memory.high` at the cap, events in `memory.events`."""

    mask: Final = select.POLLPRI
    is_near: Final = False
    denies: Final = False  #: who exceeds the cap is slowed down, or killed

    def __init__(self, descriptors: Mapping[str, int], cap: int) -> None:
        super().__init__(descriptors, "v2")
        self._cap = cap

    def is_real(self) -> bool:
        """Silence it; it also rings when files in the page cache reach the cap."""
        os.pread(self.fd, _LONGEST, 0)  # only further events ring now
        return self.exceeds(self._cap, unified_margin(self._cap) // 2)

    def grant_headroom(self) -> None:
        """Do nothing: the margin is there."""

    def enforce(self) -> None:
        """Lower the hard limit to what is in use: the next in need is out of memory."""
        self.write("memory.max", max(self._cap, self.usage()))

    def enforce_now(self) -> None:
        """Lower the hard limit to the cap: before that returns the kernel drops, and kills."""
        self.write("memory.max", self._cap)

    def arm(self) -> None:
        """Raise the hard limit above the cap again."""
        self.write("memory.max", self._cap + unified_margin(self._cap))

    def usage(self) -> int:
        """Return how much memory is in use."""
        return int(self.look("memory.current") or 0)

    def statistics(self) -> Mapping[str, int]:
        """Return `memory.stat`."""
        return parse_statistics(self.look("memory.stat"))


def parse_statistics(text: str) -> dict[str, int]:
    """Return the numbers of a flat keyed file by key."""
    pairs = (line.split() for line in text.splitlines())
    return {key: int(value) for key, value in pairs}


def notifier_of(descriptors: Mapping[str, int], cap: int | None) -> OomNotifier | None:
    """Return the notifier that *descriptors*, by label, are of; `None` if it was not armed."""
    if cap is not None and f"v1.{EVENT}" in descriptors:
        return LegacyNotifier(descriptors, cap)
    if cap is not None and f"v2.{EVENT}" in descriptors:
        return UnifiedNotifier(descriptors, cap)
    return None
