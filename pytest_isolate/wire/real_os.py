"""System calls as they are at import: a test may have patched them when they are made.

`monkeypatch` and `mock` replace attributes of `os` and `time`; pyfakefs and freezegun replace every
module's names for what they fake. Neither looks into a class.
"""

from __future__ import annotations

import os
import time


class RealOS:
    """What is called in a test process while the test's fixtures are alive."""

    close = staticmethod(os.close)
    fstat = staticmethod(os.fstat)
    ftruncate = staticmethod(os.ftruncate)
    getpid = staticmethod(os.getpid)
    leave = staticmethod(os._exit)
    lseek = staticmethod(os.lseek)
    monotonic = staticmethod(time.monotonic)
    pread = staticmethod(os.pread)
    read = staticmethod(os.read)
    sleep = staticmethod(time.sleep)
    write = staticmethod(os.write)
