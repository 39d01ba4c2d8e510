"""A file system that stops answering, and a command that has it mounted.

    python tests/silence.py [--own-users] MOUNT_POINT -- COMMAND [ARGS...]

It is FUSE's, with nothing but an empty top directory. It says hello to the kernel and nothing more,
or with `--until NAME` it answers until somebody looks for that name in it. It reads what it is
asked, so that who asks sleeps beyond the reach of SIGKILL, as some clients of dead servers do.

All happens in a mount namespace of its own, which ends with the command. Whatever becomes of this
process, /dev/fuse is closed with it: then every question fails, and nobody waits any more.
"""

from __future__ import annotations

import argparse
import ctypes
import enum
import errno
import os
import select
import signal
import stat
import struct
import sys
import time
from typing import Final

_PATIENCE_SECONDS: Final = 400.0  #: for the command
_CLONE_NEWNS: Final = 0x00020000
_CLONE_NEWUSER: Final = 0x10000000
_MS_REC: Final = 16384
_MS_PRIVATE: Final = 1 << 18
_PR_SET_PDEATHSIG: Final = 1

# linux/fuse.h
_IN: Final = struct.Struct("IIQQIIII")
_OUT: Final = struct.Struct("IiQ")
_LARGEST: Final = 1 << 17


class Ask(enum.IntEnum):
    """What the kernel asks, see linux/fuse.h."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    STATFS = 17
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    INTERRUPT = 36
    BATCH_FORGET = 42


#: Nobody waits for an answer to these.
_WITHOUT_ANSWER: Final = frozenset({Ask.FORGET, Ask.BATCH_FORGET, Ask.INTERRUPT})
_libc: Final = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def _enter(*, own_users: bool) -> None:
    """Go into a mount namespace of this process's own."""
    uid, gid = os.geteuid(), os.getegid()
    _check(_libc.unshare(_CLONE_NEWNS | (_CLONE_NEWUSER if own_users else 0)), "unshare")
    if own_users:
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"0 {uid} 1\n"),
            ("gid_map", f"0 {gid} 1\n"),
        ):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)
    _check(_libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None), "mount")


def _mount(place: str) -> int:
    fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    data = f"fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    _check(_libc.mount(b"silence", os.fsencode(place), b"fuse.silence", 0, data), "mount")
    return fd


class _Server:
    def __init__(self, fd: int, until: str) -> None:
        self._fd = fd
        self._until = until
        self._speaks = bool(until)

    def turn(self) -> None:
        """Read one question, and answer it while anything is."""
        try:
            question = os.read(self._fd, _LARGEST)
        except OSError as error:
            if error.errno in {errno.ENODEV, errno.ENOENT, errno.EAGAIN, errno.EINTR}:
                return  # it was taken back
            raise
        _, what, unique, node, *_ = _IN.unpack_from(question)
        if what == Ask.LOOKUP and question[_IN.size :].rstrip(b"\0") == self._until.encode():
            self._speaks = False
        if (self._speaks or what == Ask.INIT) and what not in _WITHOUT_ANSWER:
            code, data = self._answer(what, node)
            os.write(self._fd, _OUT.pack(_OUT.size + len(data), -code, unique) + data)

    def _answer(self, what: int, node: int) -> tuple[int, bytes]:
        """Return the errno and the data of an answer."""
        now = int(time.time())
        answers = {
            Ask.INIT: struct.pack("IIIIHHIIHH", 7, 31, 0, 0, 4, 3, 4096, 1, 1, 0) + bytes(28),
            Ask.GETATTR: struct.pack("QII", 0, 0, 0)
            + struct.pack(
                "QQQQQQIIIIIIIIII",
                *(node, 0, 0, now, now, now),
                *(0, 0, 0, stat.S_IFDIR | 0o755, 2, 0, 0, 0, 4096, 0),
            ),
            Ask.STATFS: struct.pack("QQQQQIIII", 0, 0, 0, 0, 0, 4096, 255, 4096, 0) + bytes(24),
            Ask.OPENDIR: struct.pack("QII", 1, 0, 0),
            Ask.READDIR: b"",
            Ask.RELEASEDIR: b"",
        }
        if what in answers:
            return 0, answers[Ask(what)]
        return errno.ENOENT if what == Ask.LOOKUP else errno.ENOSYS, b""


def _run(command: list[str]) -> int:
    pid = os.fork()
    if pid == 0:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        try:
            os.execvp(command[0], command)  # noqa: S606  # no shell here
        finally:
            os._exit(127)
    return pid


def main() -> int:
    """Return the command's exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--own-users", action="store_true")
    parser.add_argument("--until", default="")
    parser.add_argument("place")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    _enter(own_users=options.own_users)
    fd = _mount(options.place)
    server = _Server(fd, options.until)
    pid = _run([word for word in options.command if word != "--"])
    ended = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    poll.register(ended, select.POLLIN)
    end = time.monotonic() + _PATIENCE_SECONDS
    ready: dict[int, int] = {}
    while (left := end - time.monotonic()) > 0:
        ready = dict(poll.poll(left * 1000))
        if ended in ready:
            break
        if fd in ready:
            server.turn()
    os.close(fd)  # whoever waits for it is told that it is gone
    if ended not in ready:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) & 0xFF


if __name__ == "__main__":
    sys.exit(main())
