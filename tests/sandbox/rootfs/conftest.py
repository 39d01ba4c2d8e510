"""Sandboxes of a root file system alone: no keeper, no cgroup.

The steps are the keeper's: a builder makes the mounts, its child (PID 1 inside) enters the new
root and then a user namespace of its own, and any number of processes follow by setns(2).
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
from dataclasses import dataclass
import multiprocessing.connection
import os
from pathlib import Path
import pickle
import shutil
import signal
import sys
import tempfile
import traceback
from typing import Any
from typing import Final
from typing import NoReturn
from typing import TypeVar

import pytest

from pytest_isolate.sandbox import _libc
from pytest_isolate.sandbox import mountinfo
from pytest_isolate.sandbox import mounts
from pytest_isolate.sandbox import namespaces
from pytest_isolate.sandbox import privileges
from pytest_isolate.sandbox import rootfs
from pytest_isolate.sandbox.namespaces import IdMaps
from pytest_isolate.sandbox.namespaces import IdRange
from pytest_isolate.sandbox.spec import Network
from pytest_isolate.sandbox.spec import Spec
from pytest_isolate.sandbox.spec import User

T = TypeVar("T")

_ORDINARY_ID: Final = 1000


@dataclass(frozen=True, slots=True)
class Identity:
    """Who makes a sandbox and enters it."""

    uid: int
    privileged: bool
    home: str

    def assume(self) -> None:
        os.environ["HOME"] = self.home
        if os.geteuid() != self.uid:
            os.setgroups(())
            os.setresgid(self.uid, self.uid, self.uid)
            os.setresuid(self.uid, self.uid, self.uid)
            # A change of the user id takes /proc/self away from the process.
            _libc.prctl(_libc.PR_SET_DUMPABLE, 1)


class Sandbox:
    """One sandbox, ready to be entered."""

    def __init__(self, identity: Identity, spec: Spec) -> None:
        self._identity = identity
        self._spec = spec
        ours, theirs = multiprocessing.connection.Pipe()
        self._builder = os.fork()
        if self._builder == 0:
            ours.close()
            _answer(theirs, lambda: _build(identity, spec, theirs))
        theirs.close()
        self._life = ours
        self.notes: tuple[str, ...]
        self.seconds: float
        try:
            self._init = _result(ours.recv())
            self.notes, self.seconds = _result(ours.recv())
        except BaseException:
            self.close()
            raise

    def run(self, call: Callable[..., T], *arguments: object) -> T:
        """Return what *call* returns in a process inside; raise `AssertionError` if it raises."""
        ours, theirs = multiprocessing.connection.Pipe()
        pid = os.fork()
        if pid == 0:
            ours.close()
            _answer(theirs, lambda: _enter(self._identity, self._spec, self._init))
            inner = os.fork()
            if inner == 0:
                _answer(theirs, lambda: _settle(self._spec), lambda: call(*arguments))
                os._exit(0)
            os._exit(os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1]))
        theirs.close()
        try:
            _result(ours.recv())
            _result(ours.recv())
            value: T = _result(ours.recv())
        finally:
            os.waitpid(pid, 0)
            ours.close()
        return value

    def close(self) -> None:
        """Kill everything inside and wait for its end."""
        self._life.close()
        os.waitpid(self._builder, 0)


def _answer(channel: Any, *calls: Callable[[], object]) -> None:
    """Send what each of *calls* returns, or the first error and leave."""
    for call in calls:
        try:
            channel.send_bytes(pickle.dumps((True, call())))
        except BaseException as error:  # noqa: BLE001  # the outermost frame of a forked child
            text = "".join(traceback.format_exception(error))
            channel.send_bytes(pickle.dumps((False, (error, text))))
            os._exit(1)


def _result(answer: Any) -> Any:
    raise NotImplementedError
