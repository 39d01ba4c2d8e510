"""What a process denies itself: capabilities in a sandbox, and more where no namespace holds it.

A partial sandbox denies new privileges and core files, and by Landlock: writing but to its own
directories, signals and abstract sockets beyond itself, and TCP if it is to have no network.
"""

from __future__ import annotations

import os
import resource
import sys
from typing import TYPE_CHECKING
from typing import Final

from pytest_isolate.sandbox.errors import step
from pytest_isolate.sandbox.linux import capabilities
from pytest_isolate.sandbox.linux import landlock
from pytest_isolate.sandbox.linux import libc
from pytest_isolate.sandbox.spec import Network
from pytest_isolate.sandbox.spec import User

if TYPE_CHECKING:
    from pytest_isolate.sandbox.spec import Spec

#: Shared memory, POSIX semaphores (multiprocessing's locks), message queues, pseudo-terminals.
_SHARED: Final = ("/dev/shm", "/dev/mqueue", "/dev/pts")  # noqa: S108


def drop_capabilities(user: User, uid: int) -> None:
    """Give up what the test must not keep inside its user namespace.

    *uid* is the identity that the test has there. `User.ROOT` keeps everything.
    """
    if user is User.ROOT:
        return
    if uid != 0:
        # Set-user-ID programs of unmapped owners would not work anyway.
        libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
        libc.capset(0)
        return
    # An exec as uid 0 gains the bounding set anew, so what is dropped must leave it as well.
    for cap in capabilities.beyond_container():
        libc.prctl(libc.PR_CAPBSET_DROP, cap)
    libc.capset(capabilities.CONTAINER_CAPS)


def confine(spec: Spec, scratch: str) -> None:
    """Confine this process to what *spec* allows, with *scratch* for its temporary files."""
    uid = os.getuid()
    _use_for_temporary_files(scratch)
    with step("drop capabilities"):
        _drop_for_good(uid)
    with step("limit core files"):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # For user 0 a file of /proc/sys is writable by its mode alone.
    own = "/proc" if uid else "/proc/self"
    if spec.landlock:
        with step("restrict itself by Landlock"):
            landlock.restrict(
                (scratch, *_SHARED, *spec.writable),
                files=("/dev", own),
                tcp=spec.network is not Network.NONE,
            )


def _use_for_temporary_files(scratch: str) -> None:
    os.environ["TMPDIR"] = scratch
    if (tempfile := sys.modules.get("tempfile")) is not None:
        tempfile.tempdir = None  # type: ignore[attr-defined]  # found anew when next asked for


def _drop_for_good(uid: int) -> None:
    """Keep no more of this process's own capabilities than a container's; none unless user 0."""
    libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
    libc.capset(capabilities.effective() & capabilities.CONTAINER_CAPS if uid == 0 else 0)
