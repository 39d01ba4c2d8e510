"""The network of a sandbox: its own `lo`, up, and good for all that a container's network is.

A machine's network carries multicast and broadcast because it has a card with a route to
everywhere. `lo` has neither the flag nor the routes, so it is given both; there is no default
route, so that an address outside is unreachable at once.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from typing import Final

# linux/sockios.h, net/if.h
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 0x1
_IFF_MULTICAST: Final = 0x1000
_IFREQ: Final = struct.Struct("16sh14x")
_LOOPBACK: Final = 1  #: the index of `lo` in every network namespace

# linux/netlink.h, linux/rtnetlink.h
_NLMSG: Final = struct.Struct("=IHHII")  #: length, type, flags, sequence, port
_RTMSG: Final = struct.Struct("=8BI")  #: family, lengths, tos, table, protocol, scope, type, flags
_ATTRIBUTE: Final = struct.Struct("=HH")
_INDEX: Final = struct.Struct("=I")
_ERROR: Final = struct.Struct("=i")
_NLMSG_ERROR: Final = 2
_RTM_NEWROUTE: Final = 24
_NLM_F_REQUEST: Final = 0x1
_NLM_F_ACK: Final = 0x4
_NLM_F_CREATE: Final = 0x400
_RTPROT_BOOT: Final = 3
_RT_SCOPE_HOST: Final = 254  #: that of 127.0.0.1, which is what is sent from
_RTN_UNICAST: Final = 1
_RTN_LOCAL: Final = 2
_RT_TABLE_MAIN: Final = 254
_RT_TABLE_LOCAL: Final = 255
_RTA_DST: Final = 1
_RTA_OIF: Final = 4
_CHUNK: Final = 4096
#: There is no higher one for the kernel's setting (include/net/ping.h, GID_T_MAX).
_LAST_GROUP: Final = (1 << 31) - 1


def _request(number: int, table: int, kind: int, network: str) -> bytes:
    """Return the request for a route to *network*, as in `224.0.0.0/4`, by `lo`."""
    address, bits = network.split("/")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    raw = socket.inet_pton(family, address)
    body = b"".join((
        _RTMSG.pack(family, int(bits), 0, 0, table, _RTPROT_BOOT, _RT_SCOPE_HOST, kind, 0),
        _ATTRIBUTE.pack(_ATTRIBUTE.size + len(raw), _RTA_DST),
        raw,
        _ATTRIBUTE.pack(_ATTRIBUTE.size + _INDEX.size, _RTA_OIF),
        _INDEX.pack(_LOOPBACK),
    ))
    flags = _NLM_F_REQUEST | _NLM_F_ACK | _NLM_F_CREATE
    return _NLMSG.pack(_NLMSG.size + len(body), _RTM_NEWROUTE, flags, number, 0) + body


#: Each has its place as its number.
_REQUESTS: Final = (
    _request(0, _RT_TABLE_MAIN, _RTN_UNICAST, "224.0.0.0/4"),
    _request(1, _RT_TABLE_MAIN, _RTN_UNICAST, "255.255.255.255/32"),
    # Of any other kind it would lead to nowhere on `lo` (net/ipv6/route.c, fib6_is_reject).
    _request(2, _RT_TABLE_LOCAL, _RTN_LOCAL, "ff00::/8"),
)
#: The kernel may be without IPv6, or have it switched off: then the machine is, too.
_OF_IPV6: Final = 2


def loopback_up() -> None:
    """Set `lo` of the current network namespace up; 127.0.0.1 and ::1 come with it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
        try:
            fcntl.ioctl(probe, _SIOCSIFFLAGS, _IFREQ.pack(b"lo", _IFF_UP | _IFF_MULTICAST))
        except OSError as error:
            code = error.errno or 0
            raise OSError(code, f"set up interface: {os.strerror(code)}", "lo") from None
    _add_routes()


def give_to_everybody(first: int, last: int, proc: str) -> None:
    """Have every user of the current network namespace use it, by the *proc* mounted there.

    Groups *first* to *last* may open ICMP sockets, and all may bind all ports, as Docker has it
    since 20.10. Raises OSError.
    """
    _write(f"{proc}/sys/net/ipv4/ip_unprivileged_port_start", "0")
    _write(f"{proc}/sys/net/ipv4/ping_group_range", f"{first} {min(last, _LAST_GROUP)}")


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _add_routes() -> None:
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    with socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE) as kernel:
        kernel.send(b"".join(_REQUESTS))
        answers = b""
        while len(_errors(answers)) < len(_REQUESTS):
            answers += kernel.recv(_CHUNK)
    for number, code in _errors(answers).items():
        if code not in {0, errno.EEXIST} and number != _OF_IPV6:
            raise OSError(code, f"add route: {os.strerror(code)}", "lo")


def _errors(answers: bytes) -> dict[int, int]:
    """Return the error numbers, 0 if there was none, of *answers* by the requests' numbers."""
    found = {}
    while answers:
        length, kind, _, number, _ = _NLMSG.unpack_from(answers)
        if kind == _NLMSG_ERROR:
            found[number] = -_ERROR.unpack_from(answers, _NLMSG.size)[0]
        answers = answers[(length + 3) & ~3 :]
    return found
