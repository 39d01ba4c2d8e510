"""The wire to pytest's process, as a test finds it that looks for it."""

from __future__ import annotations

import fcntl
import os
import stat


def pipes():
    """Yield the pipes that this process writes to, but for the standard streams."""
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            is_pipe = fd > 2 and stat.S_ISFIFO(os.fstat(fd).st_mode)
        except OSError:  # of the listing itself
            continue
        if is_pipe and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY:
            yield fd


def say(data):
    """Write *data* where reports are expected."""
    for fd in pipes():
        os.write(fd, data)
