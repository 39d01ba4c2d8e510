"""SIGCHLD set aside while a child is waited for.

Where it is ignored the kernel throws a child's status away (waitpid(2)), and a handler may wait for
any child there is. What a program has made of it is its own business, not that of ours, and it is
put back: in the parent when the child has been waited for, and in the child at once.
"""

from __future__ import annotations

import signal

from pytest_isolate.sandbox.linux import signals


def set_aside() -> signals.SignalAction | None:
    """Have the status of children kept; return what `put_back` takes."""
    if signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL:
        return None
    return signals.sigaction(signal.SIGCHLD, None)


def put_back(action: signals.SignalAction | None) -> None:
    """Undo `set_aside`."""
    if action is not None:
        signals.sigaction(signal.SIGCHLD, action)
