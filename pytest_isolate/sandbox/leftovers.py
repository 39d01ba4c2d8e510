"""The processes that are still in a sandbox when its test is over."""

from __future__ import annotations

from dataclasses import dataclass
import os
import shlex
import time
from typing import Final
from typing import final

#: How long processes may take to be gone: some have been told to end, and are about to.
_PATIENCE_SECONDS: Final = 0.2
_PAUSE_SECONDS: Final = 0.02
_LONGEST: Final = 4096


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """One process."""

    pid: int  #: as the sandbox numbers it
    command: str


def staying(init: int) -> tuple[Leftover, ...]:
    """Return the processes that stay in the PID namespace of the pidfd *init*, without that."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while (found := _alive(init)) and time.monotonic() < end:
        time.sleep(_PAUSE_SECONDS)
    return found


def _alive(init: int) -> tuple[Leftover, ...]:
    try:
        first = _fields(f"self/fdinfo/{init}")["Pid"]
        namespace = os.readlink(f"/proc/{first}/ns/pid")
    except (OSError, KeyError):  # it is dead, and so is the sandbox
        return ()
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal() and name != first:
            try:
                if os.readlink(f"/proc/{name}/ns/pid") == namespace:
                    found.append(_leftover(name))
            except (OSError, KeyError):  # gone meanwhile, a zombie, or another user's
                continue
    return tuple(sorted(found, key=lambda one: one.pid))


def _leftover(name: str) -> Leftover:
    status = _fields(f"{name}/status")
    words = [os.fsdecode(word) for word in _read(f"{name}/cmdline").split(b"\0")]
    return Leftover(
        pid=int(status["NSpid"].split()[-1]),
        command=shlex.join(words[:-1]) or f"[{status['Name']}]",
    )


def _fields(name: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in _read(name).decode(errors="replace").splitlines())
    return {key: value.strip() for key, _, value in pairs}


def _read(name: str) -> bytes:
    fd = os.open(f"/proc/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, _LONGEST)
    finally:
        os.close(fd)
