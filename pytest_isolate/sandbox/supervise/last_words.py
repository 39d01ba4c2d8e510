"""The last words of a process: faulthandler's stacks, asked for by signals from outside.

One thread writes its own stack and then those of all. While it writes its own it stands still;
those of the others are read while they run on, and before CPython 3.13.10 and 3.14.1 that may crash
(gh-140815). Nothing else happens in the thread between the two: at the memory cap there is no time
to ask twice.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
import faulthandler
import os
import re
import signal
from typing import TYPE_CHECKING
from typing import Final

from pytest_isolate.sandbox.linux import pidfds
from pytest_isolate.sandbox.linux import signals
from pytest_isolate.sandbox.linux.procfs import catches
from pytest_isolate.sandbox.linux.procfs import waiting_thread
from pytest_isolate.wire.real_os import RealOS

if TYPE_CHECKING:
    from pytest_isolate.sandbox.cgroups.oom_notifier import OomNotifier
    from pytest_isolate.sandbox.launch.process import Process

#: How long last words may take: some threads' stacks take 2 ms, but on a busy machine the process
#: has to get a processor first.
WORDS_SECONDS: Final = 2.0
SHORT_WORDS_SECONDS: Final = 0.1  #: the same, before more room is made for them
PAUSE: Final = 0.002
_WORDS_ROOM: Final = 1 << 16  #: bytes
#: Before words that were said at an earlier moment, where the process has not answered since.
_EARLIER: Final = b"(of an earlier moment: at the last one the process did not answer)\n"
#: What faulthandler writes before a thread's own stack, before those of all, and at a crash.
_ONE: Final = b"Stack (most recent call first):\n"
_ALL: Final = re.compile(rb"^(?:Current thread|Thread) 0x", re.MULTILINE)
_FATAL: Final = b"Fatal Python error: "
_QUIET: Final = 50  #: pauses without a further word that end the words


@dataclass(frozen=True, slots=True, kw_only=True)
class LastWords:
    """How a process says where it is: signal *number* makes it write to *file*.

    Signal *alone* makes the thread that gets it write its own stack, if it is not 0.
    """

    number: int
    file: int
    ends: tuple[bytes, ...] = ()  #: what it ends with if it could say everything
    alone: int = 0

    def forget(self) -> None:
        """Drop what was written so far; the process shares the position."""
        RealOS.ftruncate(self.file, 0)
        RealOS.lseek(self.file, 0, os.SEEK_SET)

    def make_room(self) -> None:
        """Have pages for what will be written: the process may not be given any."""
        self.forget()
        os.pwrite(self.file, bytes(_WORDS_ROOM), 0)

    def text(self, at_most: int | None = None) -> bytes:
        """Return what was said, as far as it is to be shown."""
        return understood(self._said(at_most), self.ends)

    def restore(self, text: bytes) -> None:
        """Keep to *text*, what was written before, and say so, if there was nothing since."""
        if text and not self.text():
            text = _EARLIER + text.removeprefix(_EARLIER)
            os.pwrite(self.file, text, 0)
            RealOS.lseek(self.file, len(text), os.SEEK_SET)

    def are_complete(self) -> bool:
        """Return whether they end as they should."""
        one, others = _parts(self._said())
        return (others or one).endswith(self.ends) and bool(others or not one.startswith(_ONE))

    def size(self) -> int:
        """Return how much was written."""
        return RealOS.lseek(self.file, 0, os.SEEK_CUR)

    def have_crashed(self) -> bool:
        """Return whether to say where all threads are was the process's end."""
        one, others = _parts(self._said())
        said, fatal, _ = others.partition(_FATAL)
        return bool(one and fatal) and not said.endswith(self.ends)

    def _said(self, at_most: int | None = None) -> bytes:
        size = self.size()
        return RealOS.pread(self.file, size if at_most is None else min(size, at_most), 0)


def _parts(said: bytes) -> tuple[bytes, bytes]:
    """Return one thread's stack, empty if none was asked for alone, and what was said after it."""
    if not said.startswith(_ONE):
        return b"", said
    begins = [found.start() for found in (_ALL.search(said),) if found]
    begins += [place for place in (said.find(_FATAL),) if place >= 0]
    end = min(begins, default=len(said))
    return said[:end], said[end:]


def understood(said: bytes, ends: tuple[bytes, ...]) -> bytes:
    """Return what of *said* is to be shown: the stacks of all threads, or as many as there are.

    Of a crash on the way from one stack to the next nothing is shown: nobody's test has crashed.
    """
    one, all_said = _parts(said)
    others = all_said.partition(_FATAL)[0]
    if not one or others.endswith(ends):
        return all_said
    if others != all_said:  # whatever line was being written
        others = others[: others.rfind(b"\n") + 1]
    return b"\n".join(part for part in (one, others) if part)


def answer(file: int, *, alone: int, number: int) -> None:
    """Have this process write its stacks to *file*, in the order in which it is asked for them."""
    faulthandler.register(number, file)
    faulthandler.register(alone, file, all_threads=False)
    signals.block_during(alone, number)  # faulthandler passes over what comes while it writes


def ask(process: Process, words: LastWords, notifier: OomNotifier | None = None) -> bool:
    """Ask *process* for its last words, with the room that *notifier* makes, if it can hear that.

    The main thread speaks, or the one that waits for memory.
    """
    pid = process.inner_pid()
    if not catches(pid, words.number):
        return False
    waiting = waiting_thread(pid) if notifier is not None and notifier.denies else None
    hears = bool(words.alone) and catches(pid, words.alone, unless_blocked=True)
    thread = waiting or (pid if hears else 0)
    # Woken with the signal at hand, a thread that waits for memory acts on it before all else. For
    # another one room is made first: the kernel writes the frame of a handler to its stack, and
    # kills the process with SIGSEGV where that page cannot be had.
    if notifier is not None and waiting is None:
        notifier.grant_headroom()
    with suppress(ProcessLookupError, PermissionError):  # it has ended, or become another user's
        if thread and hears:
            signals.tgkill(pid, thread, words.alone)
        if thread:
            signals.tgkill(pid, thread, words.number)
        else:
            signal.pidfd_send_signal(process.pidfd, words.number)
    if notifier is not None and waiting is not None:
        notifier.grant_headroom()
    return True


def listen(process: Process, words: LastWords, seconds: float) -> bool:
    """Wait until *process* has said something and says no more; return whether it has."""
    deadline = RealOS.monotonic() + seconds
    last, quiet = 0, 0
    while quiet < _QUIET and RealOS.monotonic() < deadline:
        if pidfds.has_ended(process.pidfd, PAUSE):
            break
        size = words.size()
        quiet = quiet + 1 if size == last != 0 else 0
        if quiet and words.are_complete():
            break
        last = size
    return words.size() != 0
