"""What /proc tells of a process; see proc_pid_stat(5), proc_pid_status(5) and their like.

Processes come and go meanwhile. Where one that is gone has an obvious answer ("", 0, nothing), that
is it; otherwise `OSError` is raised.
"""

from __future__ import annotations

from contextlib import suppress
import os
from typing import TYPE_CHECKING
from typing import Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_CHUNK: Final = 1 << 14
_KIB_BITS: Final = 10


def read(name: str, at_most: int | None = None) -> bytes:
    """Return what the file *name* below /proc says, the first *at_most* bytes of it."""
    fd = os.open(f"/proc/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if at_most is not None:
            return os.read(fd, at_most)
        pieces = []
        while piece := os.read(fd, _CHUNK):
            pieces.append(piece)
    finally:
        os.close(fd)
    return b"".join(pieces)


def fields_of(name: str) -> dict[str, str]:
    """Return the values by name of a file below /proc that has lines of `Name: value`."""
    pairs = (line.partition(":") for line in read(name).decode(errors="replace").splitlines())
    return {key: value.strip() for key, _, value in pairs}


def sizes(fields: Mapping[str, str]) -> dict[str, int]:
    """Return those of *fields* that are sizes, in bytes."""
    words = {name: value.split() for name, value in fields.items()}
    return {name: int(two[0]) << _KIB_BITS for name, two in words.items() if two[1:] == ["kB"]}


def state_of(task: int | str) -> str:
    """Return the state of a process, or of a thread (`7/task/8`), as a letter; "" if it is gone."""
    try:
        return _stat(task)[0]
    except (OSError, IndexError):
        return ""


def parent_of(pid: int | str) -> int:
    """Return the parent of process *pid*, 0 if there is none, or it is gone."""
    try:
        return int(_stat(pid)[1])
    except (OSError, IndexError):
        return 0


def _stat(task: int | str) -> list[str]:
    """Return the fields of `stat` from the state on."""
    # The name in parentheses may contain anything, see proc_pid_stat(5).
    return read(f"{task}/stat").rpartition(b")")[2].decode("ascii").split()


def place_of(pid: int) -> str:
    """Return where in the kernel process *pid* sleeps; who may not trace it is told "0"."""
    try:
        return read(f"{pid}/wchan").decode("ascii", "replace").strip()
    except OSError:
        return ""


def children_of(pid: int | str) -> list[int]:
    """Return the children of process *pid*, those of each thread."""
    found: list[int] = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError):
                found += map(int, read(f"{pid}/task/{thread}/children").split())
    return found


def memory_of(pid: int) -> dict[str, int]:
    """Return the sizes of `smaps_rollup`, in bytes by name."""
    return sizes(fields_of(f"{pid}/smaps_rollup"))


def catches(pid: int, number: int, *, unless_blocked: bool = False) -> bool:
    """Return whether process *pid* has a handler for the signal *number*.

    *unless_blocked*: and its main thread does not block it.
    """
    try:
        status = fields_of(f"{pid}/status")
        caught = int(status["SigCgt"], 16)
        if unless_blocked:
            caught &= ~int(status["SigBlk"], 16)
    except (OSError, KeyError):
        return False
    return bool(caught >> (number - 1) & 1)


def waiting_thread(pid: int) -> int | None:
    """Return the thread of process *pid* that waits for memory, or for something just as firmly."""
    try:
        names = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return None
    return next((int(name) for name in names if state_of(f"{pid}/task/{name}") == "D"), None)
