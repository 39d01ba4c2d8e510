"""Step 5: the rest of what is shared (IPC, network and user namespaces).

Message queues and shared memory, network interfaces, and the meaning of a user id: each container
has its own.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
import socket
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Run

KINDS = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"]


def namespace(kind: str) -> str:
    return os.fspath(Path(f"/proc/self/ns/{kind}").readlink())


# Noted outside, where a test module is imported.
OUTSIDE = {kind: namespace(kind) for kind in KINDS}
CALLER = os.getuid()


@pytest.mark.isolated
@pytest.mark.parametrize("kind", KINDS)
def test_namespace_is_a_new_one(kind: str) -> None:
    assert namespace(kind) != OUTSIDE[kind]


@pytest.fixture
def queue() -> Iterator[str]:
    """Make a message queue on the machine, and remove it."""
    made = subprocess.run(["ipcmk", "--queue"], capture_output=True, text=True, check=True)
    number = made.stdout.split()[-1]
    yield number
    subprocess.run(["ipcrm", "--queue-id", number], check=True)


@pytest.mark.isolated(enabled=False)
def test_message_queues_of_the_machine_are_not_there(run: Run, queue: str) -> None:
    table = Path("/proc/sysvipc/msg")
    assert queue in [row.split()[1] for row in table.read_text(encoding="ascii").splitlines()]
    [heading] = run("--", "cat", table).stdout.splitlines()
    assert heading.split()[:2] == ["key", "msqid"]


@pytest.mark.isolated
def test_loopback_is_the_only_interface() -> None:
    assert socket.if_nameindex() == [(1, "lo")]


@pytest.mark.isolated
def test_loopback_is_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()


@pytest.mark.isolated
def test_world_is_unreachable() -> None:
    with pytest.raises(OSError, match=os.strerror(errno.ENETUNREACH)):
        socket.create_connection(("192.0.2.1", 80), timeout=5)


@pytest.mark.isolated
def test_user_stays_who_it_was() -> None:
    assert os.getuid() == CALLER


@pytest.mark.isolated(user="root")
def test_root_of_the_container_is_the_caller_outside(tmp_path: Path) -> None:
    # tmp_path is a directory of the host's, made by the caller.
    assert (os.getuid(), tmp_path.stat().st_uid, tmp_path.owner()) == (0, 0, "root")


@pytest.mark.isolated(user="root")
def test_root_of_the_container_has_no_power_over_the_machine(tmp_path: Path) -> None:
    assert namespace("user") != OUTSIDE["user"]  # not with --no-isolate
    with pytest.raises(PermissionError):
        os.mknod(tmp_path / "disk", stat.S_IFBLK | 0o600, os.makedev(8, 0))
