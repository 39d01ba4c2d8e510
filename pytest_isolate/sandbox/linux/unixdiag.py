"""Which sockets of the UNIX family are the two ends of one pair, by sock_diag(7)."""

from __future__ import annotations

from contextlib import suppress
import socket
import struct
from typing import TYPE_CHECKING
from typing import Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Iterator

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST: Final = 1
_UDIAG_SHOW_PEER: Final = 4
_UNIX_DIAG_PEER: Final = 2
_ALL_STATES: Final = 0xFFFFFFFF
_NO_COOKIE: Final = 0xFFFFFFFF
_HEADER: Final = struct.Struct("=IHHII")  # struct nlmsghdr
_REQUEST: Final = struct.Struct("=BBHIIIII")  # struct unix_diag_req
_ANSWER: Final = struct.Struct("=BBBxIII")  # struct unix_diag_msg
_ATTRIBUTE: Final = struct.Struct("=HH")  # struct nlattr
_NUMBER: Final = struct.Struct("=I")
_SECONDS: Final = 1.0  #: that the kernel may take, which answers at once


def peers(inodes: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield each of *inodes* that has a peer, and the peer's; nothing where this is not to be had.

    What is no socket of this family is passed over.
    """
    with (
        suppress(OSError),
        socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG) as diag,
    ):
        diag.settimeout(_SECONDS)
        for inode in inodes:
            request = _REQUEST.pack(
                socket.AF_UNIX, 0, 0, _ALL_STATES, inode, _UDIAG_SHOW_PEER, _NO_COOKIE, _NO_COOKIE
            )
            length = _HEADER.size + len(request)
            diag.send(
                _HEADER.pack(length, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, inode, 0) + request
            )
            peer = _peer(diag.recv(1 << 16))
            if peer:
                yield inode, peer


def _peer(answer: bytes) -> int:
    """Return the peer that the kernel's *answer* names, or 0."""
    length, kind, *_ = _HEADER.unpack_from(answer)
    if kind != _SOCK_DIAG_BY_FAMILY:  # an error: there is no such socket
        return 0
    position = _HEADER.size + _ANSWER.size
    while position + _ATTRIBUTE.size <= length:
        size, attribute = _ATTRIBUTE.unpack_from(answer, position)
        if attribute == _UNIX_DIAG_PEER:
            peer: int = _NUMBER.unpack_from(answer, position + _ATTRIBUTE.size)[0]
            return peer
        position += max(size, _ATTRIBUTE.size) + 3 & ~3
    return 0
