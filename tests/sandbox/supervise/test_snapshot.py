"""What is in a sandbox is seen from outside: processes, sizes, memory by kind."""

from __future__ import annotations

import os
import subprocess

from pytest_isolate.sandbox.supervise import snapshot

V1 = {"cache": 300, "shmem": 200, "rss": 1000, "kernel": 50, "inactive_file": 100}
V2 = {"file": 300, "shmem": 200, "anon": 1000, "kernel": 50, "slab": 40}
OLD_V2 = {"file": 300, "shmem": 200, "anon": 1000, "slab": 40, "kernel_stack": 6, "pagetables": 4}


def test_kinds_are_told_of_either_version() -> None:
    kinds = {
        "anonymous": 1000,
        "tmpfs and shared memory": 200,
        "cache of other files": 100,
        "kernel": 50,
    }

    assert [snapshot.by_kind(found) for found in (V1, V2, OLD_V2)] == [kinds] * 3
    assert snapshot.by_kind({}) == {}


def test_processes_are_found_by_size_and_the_dead_left_out() -> None:
    command = ["sh", "-c", "echo; read line"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        found = snapshot.read_processes([child.pid, os.getpid(), 2**22 + 1], os.getpid())
        child.kill()

    assert [(one.outer, one.is_main) for one in found] == [
        (os.getpid(), True),
        (child.pid, False),
    ]
    assert found[1].command == "sh -c 'echo; read line'"
    assert found[0].rss > found[1].rss > (found[1].pss or 0) > 0
