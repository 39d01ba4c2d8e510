"""Which descriptors belong to which frame; receives none itself.

A stream socket delivers descriptors in order, with the first byte that they were sent with or
before it, and tells no frame borders. So they wait in a queue until a frame claims them.
"""

from __future__ import annotations

from array import array
from collections import deque
import os
import socket
from typing import TYPE_CHECKING

from pytest_isolate.wire.codec import Decoder
from pytest_isolate.wire.errors import RemoteProtocolError
from pytest_isolate.wire.frames import Ready

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Sequence

    from pytest_isolate.wire.frames import Frame


def descriptors(frame: Frame) -> int:
    """Return how many descriptors belong to *frame*."""
    return len(frame.names) if isinstance(frame, Ready) else 0


def unpack(control: Sequence[tuple[int, int, bytes]]) -> list[int]:
    """Return the descriptors in *control*, the ancillary data as recvmsg(2) gives it."""
    fds = array("i")
    for level, kind, rights in control:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(rights[: len(rights) - len(rights) % fds.itemsize])
    return fds.tolist()


class Pairing:
    """Turns bytes and descriptors into frames with their descriptors.

    Owns each descriptor from `feed` until it leaves with its frame.
    """

    def __init__(self) -> None:
        self._decoder = Decoder()
        self._waiting: deque[int] = deque()

    @property
    def unfinished(self) -> int:
        """How many bytes of an incomplete frame have come."""
        return self._decoder.unfinished

    def feed(self, data: bytes, fds: Sequence[int]) -> Iterator[tuple[Frame, list[int]]]:
        """Take *data* and *fds*, received together, and return the frames that are now complete.

        The iterator raises `RemoteProtocolError` at a bad frame, at one that lacks descriptors,
        and if descriptors are left that no frame owns. Use it up.
        """
        self._waiting.extend(fds)
        return self._pairs(data)

    def close(self) -> None:
        """Close the descriptors that no frame has claimed."""
        while self._waiting:
            os.close(self._waiting.popleft())

    def _pairs(self, data: bytes) -> Iterator[tuple[Frame, list[int]]]:
        for frame in self._decoder.feed(data):
            wanted = descriptors(frame)
            if wanted > len(self._waiting):
                raise RemoteProtocolError(
                    f"a frame came with {len(self._waiting)} of its {wanted} descriptors"
                )
            yield frame, [self._waiting.popleft() for _ in range(wanted)]
        if self._waiting and not self._decoder.unfinished:
            raise RemoteProtocolError(
                f"{len(self._waiting)} descriptors came with no frame that owns them"
            )
