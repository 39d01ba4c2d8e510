"""The network of a sandbox: its own `lo`, up."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from typing import Final

# linux/sockios.h, net/if.h
_SIOCGIFFLAGS: Final = 0x8913
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 1
_IFREQ: Final = struct.Struct("16sh14x")


def loopback_up() -> None:
    """Set `lo` of the current network namespace up; 127.0.0.1 and ::1 come with it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
        request = _IFREQ.pack(b"lo", 0)
        try:
            name, flags = _IFREQ.unpack(fcntl.ioctl(probe, _SIOCGIFFLAGS, request))
            fcntl.ioctl(probe, _SIOCSIFFLAGS, _IFREQ.pack(name, flags | _IFF_UP))
        except OSError as error:
            code = error.errno or 0
            raise OSError(code, f"set up interface: {os.strerror(code)}", "lo") from None
