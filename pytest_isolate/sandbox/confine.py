"""What a process can deny itself without any namespace: a partial sandbox's walls.

No new privileges, no core files, and by Landlock: no writing but to its own directories, no
signals and abstract sockets beyond itself, and no TCP if it is to have no network.
"""

from __future__ import annotations

import os
import resource
import sys
from typing import TYPE_CHECKING
from typing import Final

from pytest_isolate.sandbox import landlock
from pytest_isolate.sandbox import privileges
from pytest_isolate.sandbox.errors import step
from pytest_isolate.sandbox.spec import Network

if TYPE_CHECKING:
    from pytest_isolate.sandbox.spec import Spec

#: Shared memory, POSIX semaphores (multiprocessing's locks), message queues, pseudo-terminals.
_SHARED: Final = ("/dev/shm", "/dev/mqueue", "/dev/pts")  # noqa: S108


def confine(spec: Spec, scratch: str) -> None:
    """Confine this process to the walls of *spec*, with *scratch* for its temporary files."""
    uid = os.getuid()
    _use_for_temporary_files(scratch)
    with step("drop capabilities"):
        privileges.drop_for_good(uid)
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
