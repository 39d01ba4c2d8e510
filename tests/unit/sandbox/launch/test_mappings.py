"""What /proc/PID/maps tells of memory that is shared through files."""

from __future__ import annotations

import mmap

from pytest_isolate.sandbox.launch.mappings import Mapping
from pytest_isolate.sandbox.launch.mappings import parse

MAPS = rb"""00400000-00401000 r--p 00000000 fd:00 123 /usr/bin/python3
7f0000000000-7f0000003000 rw-s 00001000 fd:00 456                        /home/me/a b.db-shm
7f0000004000-7f0000005000 r--s 00000000 00:01 789                        /memfd:shared (deleted)
7f0000006000-7f0000007000 rw-p 00000000 fd:00 456                        /home/me/private
7f0000008000-7f0000009000 rw-s 00000000 00:01 12                         anon_inode:[io_uring]
7f000000a000-7f000000b000 rw-s 00000000 fd:00 13                         /two\012lines
7f000000c000-7f000000d000 rw-p 00000000 00:00 0                          [heap]
7f000000e000-7f000000f000 rw-s 00000000 00:00 0
"""


def test_only_what_is_shared_and_of_a_file_is_found() -> None:
    assert [one.path for one in parse(MAPS)] == [
        "/home/me/a b.db-shm",
        "/memfd:shared (deleted)",
        "/two\nlines",
    ]


def test_a_mapping_is_told_in_full() -> None:
    assert parse(MAPS)[0] == Mapping(
        start=0x7F0000000000,
        length=0x3000,
        protection=mmap.PROT_READ | mmap.PROT_WRITE,
        offset=0x1000,
        inode=456,
        path="/home/me/a b.db-shm",
    )
