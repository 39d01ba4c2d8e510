"""The network of a sandbox is its own to use, as a container's is, by root and by anybody."""

from __future__ import annotations

from contextlib import suppress
import encodings.idna  # noqa: F401  # for getaddrinfo, before the library is out of reach
import os
from pathlib import Path
import socket
import struct
from typing import TYPE_CHECKING
from typing import Any
from typing import Final

import pytest

from pytest_isolate.sandbox.spec import Network
from pytest_isolate.sandbox.spec import Spec
from pytest_isolate.sandbox.spec import User

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator

    from pytest_isolate.sandbox.pool import Pool

pytestmark = [pytest.mark.any_python, pytest.mark.needs("sandbox")]

USERS: Final = tuple(User)
ANYWHERE: Final = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}  # noqa: S104
LOOPBACK: Final = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
ECHO_REPLY: Final = {socket.AF_INET: 0, socket.AF_INET6: 129}
HAS_IPV6: Final = Path("/proc/net/if_inet6").exists()
NEEDS_IPV6: Final = pytest.mark.skipif(not HAS_IPV6, reason="this kernel has no IPv6")
FAMILIES: Final = [
    socket.AF_INET,
    pytest.param(socket.AF_INET6, marks=NEEDS_IPV6),
]
SETTINGS: Final = ("ping_group_range", "ip_unprivileged_port_start")
_PATIENCE: Final = 20.0
_NOBODY: Final = 65534


def settings() -> list[str]:
    return [Path("/proc/sys/net/ipv4", name).read_text(encoding="ascii") for name in SETTINGS]


@pytest.fixture(autouse=True)
def _network_of_the_machine_stays_as_it_is() -> Iterator[None]:
    before = settings()
    yield
    assert settings() == before


@pytest.fixture
def _whole_network(pool: Pool) -> None:
    lacks = pool.capabilities["net"].lacks
    if lacks:  # inside another sandbox, or a container that masks /proc
        (pytest.fail if os.environ.get("CI") else pytest.skip)(lacks)


def as_nobody() -> None:
    """Be an ordinary user, unless this is one or the sandbox knows no other user."""
    with suppress(OSError):
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)


def listen_on_port_80(family: socket.AddressFamily) -> str:
    as_nobody()
    with (
        socket.create_server((LOOPBACK[family], 80), family=family) as server,
        socket.create_connection(server.getsockname()[:2], timeout=_PATIENCE),
    ):
        return str(server.accept()[1][0])


def ping(family: socket.AddressFamily) -> int:
    """Return the type of the answer to an echo request."""
    as_nobody()
    protocol, request = (
        (socket.IPPROTO_ICMP, 8) if family == socket.AF_INET else (socket.IPPROTO_ICMPV6, 128)
    )
    with socket.socket(family, socket.SOCK_DGRAM, protocol) as sender:
        sender.settimeout(_PATIENCE)
        sender.sendto(struct.pack("!BBHHH", request, 0, 0, 0, 1), (LOOPBACK[family], 0))
        return sender.recv(100)[0]


def say_to_group(family: socket.AddressFamily, group: str, interface: bytes) -> tuple[str, str]:
    """Join *group*, send one datagram there, and return who sent what was received."""
    with (
        socket.socket(family, socket.SOCK_DGRAM) as receiver,
        socket.socket(family, socket.SOCK_DGRAM) as sender,
    ):
        receiver.settimeout(_PATIENCE)
        receiver.bind((ANYWHERE[family], 0))
        member = socket.inet_pton(family, group) + interface
        if family == socket.AF_INET:
            receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        else:
            receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)
        sender.sendto(b"hello", (group, receiver.getsockname()[1]))
        words, source = receiver.recvfrom(100)
        return words.decode(), source[0]


def broadcast(address: str) -> tuple[str, str]:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.settimeout(_PATIENCE)
        receiver.bind(("", 0))
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sender.sendto(b"hello", (address, receiver.getsockname()[1]))
        words, source = receiver.recvfrom(100)
        return words.decode(), source[0]


@pytest.mark.usefixtures("_whole_network")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("user", USERS)
def test_an_ordinary_user_binds_a_low_port(
    ask: Callable[..., Any], user: User, family: socket.AddressFamily
) -> None:
    assert ask(lambda: listen_on_port_80(family), Spec(user=user)) == LOOPBACK[family]


@pytest.mark.usefixtures("_whole_network")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("user", USERS)
def test_an_ordinary_user_pings_loopback(
    ask: Callable[..., Any], user: User, family: socket.AddressFamily
) -> None:
    assert ask(lambda: ping(family), Spec(user=user)) == ECHO_REPLY[family]


@pytest.mark.parametrize("interface", ["0.0.0.0", "127.0.0.1"])  # noqa: S104
def test_a_group_of_ipv4_hears_its_own_datagrams(ask: Callable[..., Any], interface: str) -> None:
    member = socket.inet_aton(interface)

    assert ask(lambda: say_to_group(socket.AF_INET, "239.1.2.3", member)) == ["hello", "127.0.0.1"]


@NEEDS_IPV6
@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("group", ["ff02::1:3", "ff05::2", "ff15::99"])
def test_a_group_of_ipv6_hears_its_own_datagrams(
    ask: Callable[..., Any], group: str, index: int
) -> None:
    member = struct.pack("@I", index)

    assert ask(lambda: say_to_group(socket.AF_INET6, group, member)) == ["hello", "::1"]


@pytest.mark.parametrize("address", ["255.255.255.255", "127.255.255.255"])
def test_a_broadcast_is_heard(ask: Callable[..., Any], address: str) -> None:
    assert ask(lambda: broadcast(address)) == ["hello", "127.0.0.1"]


@NEEDS_IPV6
def test_a_server_on_all_addresses_is_reached_by_both_protocols(ask: Callable[..., Any]) -> None:
    def reach() -> list[str]:
        with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
            port = server.getsockname()[1]
            for address in LOOPBACK.values():
                socket.create_connection((address, port), timeout=_PATIENCE).close()
            return [server.accept()[1][0] for _ in LOOPBACK]

    assert ask(reach) == ["::ffff:127.0.0.1", "::1"]


def test_an_address_outside_is_unreachable_at_once(ask: Callable[..., Any]) -> None:
    def reach() -> str:
        try:
            socket.create_connection(("192.0.2.1", 80), timeout=_PATIENCE)
        except OSError as error:
            return str(error.strerror)
        return "reached"

    assert ask(reach) == "Network is unreachable"


def test_the_machines_own_network_is_left_alone(ask: Callable[..., Any]) -> None:
    def look() -> list[object]:
        flags = int(Path("/sys/class/net/lo/flags").read_text(encoding="ascii"), 16)
        return [settings()[1], flags]  # groups are shown as the reader's namespace has them

    assert ask(look, Spec(network=Network.HOST)) == look()


def test_the_settings_cannot_be_changed_from_inside(ask: Callable[..., Any]) -> None:
    def change() -> str:
        try:
            Path("/proc/sys/net/ipv4", SETTINGS[1]).write_text("1024", encoding="ascii")
        except OSError as error:
            return str(error.strerror)
        return "changed"

    assert ask(change, Spec(user=User.ROOT)) == "Read-only file system"
