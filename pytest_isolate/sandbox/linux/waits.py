"""How long anything is waited for, and the words for what did not come.

Every wait of parent, keeper and init that another process or a file system decides about has its
limit here, so that none is without an end. A limit is for what is stuck: each is far above what a
busy machine takes, and whoever comes to it says in a line for whom it waited.
"""

from __future__ import annotations

import os
import select
import signal
import time
from typing import Final
from typing import final

from pytest_isolate.sandbox.linux import pidfds
from pytest_isolate.sandbox.linux import procfs

#: Seconds. In the order in which they matter to a run:
LOOK: Final = 3.0  #: a mount may take to answer
MAKING: Final = 20.0  #: the processes of a sandbox may take to make it
ANSWER: Final = 60.0  #: the keeper may take to answer the parent: a sandbox takes milliseconds
DYING: Final = 20.0  #: a killed process may take to be gone
LAST_WORDS: Final = 2.0  #: a keeper that has closed its socket may still be writing
CLEARING: Final = 10.0  #: the keeper's end waits for dying sandboxes
END: Final = 60.0  #: the keeper may take for its end; there may be much to remove
STUCK: Final = 10.0  #: a process may be stopped, or wait for a file system, without running once
KILLED: Final = 2.0  #: is given to a process that was killed for any of these

_CHUNK: Final = 65536
_PAUSE: Final = 1.0
_SLEEPS: Final = frozenset("DTt")
_NOT_TOLD: Final = frozenset({"", "0"})
#: Where a process waits for who serves a file system, though in a sleep that a signal would end.
_ASKING: Final = frozenset({"p9_client_rpc", "request_wait_answer"})
#: What of a process's status counts how often it has run.
_SWITCHES: Final = ("voluntary_ctxt_switches", "nonvoluntary_ctxt_switches")
_STATES: Final = {"D": "uninterruptible sleep", "T": "stopped", "t": "being traced"}


@final
class Watch:
    """A process that something is awaited from, for *limit* seconds at most.

    Less if it cannot run: it is stopped, or waits for a file system, and was not woken for `STUCK`.
    """

    def __init__(self, pid: int, limit: float) -> None:
        self._pid = pid
        self._begun = self._since = time.monotonic()
        self._end = self._begun + limit
        self._last = ""

    @property
    def pause(self) -> float:
        """How many seconds to wait until `why_over` is asked again."""
        return max(0.0, min(_PAUSE, self._end - time.monotonic()))

    def why_over(self) -> str:
        """Return why there is nothing more to wait for, or ""."""
        now = time.monotonic()
        look = _sleep_of(self._pid)
        if not look or look != self._last:
            self._since, self._last = now, look
        if now >= self._end or now - self._since >= STUCK:
            return f"within {now - self._begun:.0f} s ({describe(self._pid)})"
        return ""


def wait(pid: int, pidfd: int, limit: float) -> str:
    """Wait for the end of a process; return "", or why it is waited for no longer."""
    if pidfds.has_ended(pidfd):
        return ""
    watch = Watch(pid, limit)
    while not pidfds.has_ended(pidfd, watch.pause):
        if why := watch.why_over():
            return why
    return ""


def reap(pid: int, limit: float = DYING) -> int | None:
    """Return the wait status of a child that is to end; `None` if it has not, though killed then.

    0 of one that somebody else has waited for.
    """
    try:
        done, status = os.waitpid(pid, os.WNOHANG)
        if not done:
            pidfd = os.pidfd_open(pid)
            try:
                if wait(pid, pidfd, limit):
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                    pidfds.has_ended(pidfd, KILLED)
            finally:
                os.close(pidfd)
            done, status = os.waitpid(pid, os.WNOHANG)
    except (ChildProcessError, ProcessLookupError):
        return 0
    return status if done else None


def hear(answer: int, pid: int, limit: float = DYING) -> tuple[bytes, int | None]:
    """Return all that a child writes to the pipe *answer*, which this closes, and its status.

    The status is `None` if the child has not ended, though it was killed then.
    """
    words = b""
    poll = select.poll()
    poll.register(answer, select.POLLIN)
    end = time.monotonic() + limit
    with open(answer, "rb", buffering=0) as stream:
        while poll.poll(max(0.0, end - time.monotonic()) * 1000):
            data = stream.read(_CHUNK)
            if not data:
                break
            words += data
    return words, reap(pid, max(0.0, end - time.monotonic()))


def describe(pid: int) -> str:
    """Return *pid* and its state in words: `process 7, uninterruptible sleep in nfs_wait`."""
    words = f"process {pid}"
    state, place = procfs.state_of(pid), procfs.place_of(pid)
    if state in _STATES:
        words += f", {_STATES[state]}"
    elif place in _ASKING:
        words += ", waiting"
    is_told = place not in _NOT_TOLD and (state == "D" or place in _ASKING)
    return f"{words} in {place}" if is_told else words


def _sleep_of(pid: int) -> str:
    """Return something that stays the same while a process cannot run, "" if it can."""
    state = procfs.state_of(pid)
    if state not in _SLEEPS and procfs.place_of(pid) not in _ASKING:
        return ""
    try:
        status = procfs.fields_of(f"{pid}/status")
    except OSError:
        return state
    return f"{state} {[status.get(switches) for switches in _SWITCHES]}"
