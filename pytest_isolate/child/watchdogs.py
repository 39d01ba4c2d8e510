"""faulthandler's watchdog over a fork: it is the test's while an isolated test runs.

`faulthandler.dump_traceback_later` starts a thread of C, and no interface tells whether there is
one. A forked process does not have that thread, and whoever cancels or arms the watchdog there
waits for it for ever; the parent's goes off meanwhile, and shows where the parent waits. So it is
noted how it was armed, by pytest (`faulthandler_timeout`) or by a suite, and for the time of a test
it is not armed here but in the test process, with the time that is left. What it says there goes on
from here to where it was to go.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextlib import suppress
from dataclasses import dataclass
import faulthandler
from functools import cache
from functools import wraps
import os
import re
import sys
import threading
from typing import TYPE_CHECKING
from typing import Any
from typing import Final
from typing import final

from pytest_isolate.wire.real_os import RealOS

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Collection
    from collections.abc import Iterator

#: The warning of a watchdog that was armed before there was anybody to take note.
LOST: Final = (
    "a watchdog that was armed before the plugin was loaded is cancelled, as nobody knows how to "
    "arm it again in a test process: call faulthandler.dump_traceback_later in a conftest.py"
)
_LEAST_SECONDS: Final = 0.001
_GOING_SECONDS: Final = 0.05  #: how long a thread may take to be gone, once a session
_LOOK: Final = 0.1  #: in seconds, how often to look for words once it was time
_HEADER: Final = re.compile(rb"^Timeout \([\d:.]+\)!$", re.MULTILINE)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Armed:
    """How the watchdog was armed."""

    timeout: float  #: in seconds
    repeat: bool
    exit: bool
    fd: int
    file: object  #: whose the descriptor is, so that it stays open
    due: float  #: by the clock of `RealOS.monotonic`

    def left(self) -> float:
        """Return in how many seconds it goes off, anew where it does so again and again."""
        return self.timeout if self.repeat else self.due - RealOS.monotonic()


def install() -> None:
    """Take note from now on of how the watchdog is armed, until as many calls of `remove`."""
    _keeper().install()


def remove() -> None:
    """Leave faulthandler's functions as they were."""
    _keeper().remove()


@contextmanager
def paused(captured: Collection[int]) -> Iterator[Watchdog]:
    """Disarm the watchdog meanwhile, so that this process can fork.

    *captured* are the descriptors that stand for the test's own output in its process.
    """
    keeper = _keeper()
    armed, lost = keeper.disarm()
    watchdog = Watchdog(armed, captured, lost=lost)
    try:
        yield watchdog
    finally:
        watchdog.close()
        if armed is not None:
            keeper.resume(armed)


@final
class Watchdog:
    """The watchdog of one test process, on both sides of its fork."""

    def __init__(self, armed: Armed | None, captured: Collection[int], *, lost: bool) -> None:
        self.lost = lost  #: whether there was one of which nobody knows how it was armed
        self._armed = armed
        self._told = 0
        self._file = -1
        if armed is not None and armed.fd not in captured:
            self._file = os.memfd_create("isolate-watchdog", os.MFD_CLOEXEC)

    @property
    def fds(self) -> tuple[int, ...]:
        """The descriptors that the test process needs."""
        return () if self._file < 0 else (self._file,)

    def arm(self) -> None:
        """Arm it, in the test process."""
        if self._armed is not None:
            fd = self._armed.fd if self._file < 0 else self._file
            _keeper().arm(self._armed, fd)

    def between(self, chore: Callable[[], float]) -> Callable[[], float]:
        """Return *chore*, and a look at what was said in between."""
        return chore if self._file < 0 else lambda: min(chore(), self._look())

    def text(self) -> str:
        """Return what it has said, if that is not with the test's output."""
        return "" if self._file < 0 else self._read(0).decode(errors="replace")

    def close(self) -> None:
        """Pass on what was said last, and close the descriptor."""
        if self._file >= 0:
            self._look()
            RealOS.close(self._file)
            self._file = -1

    def _look(self) -> float:
        """Pass on what was said since the last time; return in how many seconds to look again."""
        armed = self._armed
        if armed is None:
            return _LOOK
        if said := self._read(self._told):
            self._told = RealOS.lseek(self._file, 0, os.SEEK_CUR)
            with suppress(OSError):  # whoever has armed it may have closed the file since
                RealOS.write(armed.fd, said)
        return max(_LOOK, armed.due - RealOS.monotonic())

    def _read(self, start: int) -> bytes:
        size = RealOS.lseek(self._file, 0, os.SEEK_CUR)
        said = RealOS.pread(self._file, max(0, size - start), start)
        seconds = 0.0 if self._armed is None else self._armed.timeout
        return _HEADER.sub(_header(seconds), said)


def _header(seconds: float) -> bytes:
    """Return what faulthandler says first of a watchdog of so many *seconds*."""
    whole, micro = divmod(round(seconds * 1_000_000), 1_000_000)
    fraction = f".{micro:06}" if micro else ""
    return f"Timeout ({whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}{fraction})!".encode()


@cache
def _keeper() -> _Keeper:
    # As the watchdog, there is one of it in a process.
    return _Keeper()


@final
class _Keeper:
    """What is known of this process's watchdog, from what it is armed and cancelled by."""

    def __init__(self) -> None:
        self._dump_later = faulthandler.dump_traceback_later
        self._cancel = faulthandler.cancel_dump_traceback_later
        self._wrappers = (self._wrap_dump_later(), self._wrap_cancel())
        self._armed: Armed | None = None
        self._paused: Armed | None = None
        self._installed = 0
        self._sure = False  #: whether there can be none that was armed earlier

    def install(self) -> None:
        self._installed += 1
        if self._installed == 1:
            _replace(self._dump_later, self._wrappers[0])
            _replace(self._cancel, self._wrappers[1])

    def remove(self) -> None:
        self._installed -= 1
        if self._installed == 0:
            _replace(self._wrappers[0], self._dump_later)
            _replace(self._wrappers[1], self._cancel)

    def disarm(self) -> tuple[Armed | None, bool]:
        """Return how it was armed, if it was, and whether there was another."""
        armed, lost = self._armed, False
        if armed is not None or self._sure:
            self._cancel()
        else:
            before = _threads()
            self._cancel()
            lost = _goes_one(before)
        self._sure = True
        self._armed, self._paused = None, armed
        return armed, lost

    def resume(self, armed: Armed) -> None:
        """Arm it again, unless it has gone off, or was armed or cancelled meanwhile."""
        if self._paused is armed and armed.left() > 0:
            self.arm(armed, armed.fd)
        self._paused = None

    def arm(self, armed: Armed, fd: int) -> None:
        timeout = max(_LEAST_SECONDS, armed.left())
        self._dump_later(timeout, repeat=armed.repeat, file=fd, exit=armed.exit)
        self._armed = armed

    def _wrap_dump_later(self) -> Callable[..., None]:
        @wraps(self._dump_later)
        def dump_traceback_later(*args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # as they come
            self._dump_later(*args, **kwargs)
            self._armed, self._paused = _note(*args, **kwargs), None

        return dump_traceback_later

    def _wrap_cancel(self) -> Callable[..., None]:
        @wraps(self._cancel)
        def cancel_dump_traceback_later() -> None:
            self._cancel()
            self._armed, self._paused, self._sure = None, None, True

        return cancel_dump_traceback_later


def _note(
    timeout: float,
    repeat: bool = False,  # noqa: FBT001, FBT002  # as faulthandler's
    file: Any = None,  # noqa: ANN401  # of no common type
    exit: bool = False,  # noqa: A002, FBT001, FBT002  # as faulthandler's
) -> Armed:
    where = sys.stderr if file is None else file
    return Armed(
        timeout=float(timeout),
        repeat=bool(repeat),
        exit=bool(exit),
        fd=where if isinstance(where, int) else where.fileno(),
        file=where,
        due=RealOS.monotonic() + float(timeout),
    )


def _threads() -> set[int]:
    """Return the threads of this process that are not Python's."""
    python = {thread.native_id for thread in threading.enumerate()}
    return set(map(int, os.listdir("/proc/self/task"))) - python  # noqa: PTH208  # names are wanted


def _goes_one(before: set[int]) -> bool:
    """Return whether one of the threads *before* ends now: it has said so before it is gone."""
    end = RealOS.monotonic() + _GOING_SECONDS
    while before and before <= _threads():
        if RealOS.monotonic() > end:
            return False
        RealOS.sleep(_LEAST_SECONDS)
    return bool(before)


def _replace(old: Callable[..., None], new: Callable[..., None]) -> None:
    """Put *new* in the place of *old*, in modules that have imported it by name as well."""
    name = old.__name__
    for module in list(sys.modules.values()):
        if getattr(module, "__dict__", {}).get(name) is old:
            setattr(module, name, new)
