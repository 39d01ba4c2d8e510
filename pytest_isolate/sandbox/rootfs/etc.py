"""The files of /etc that a sandbox has of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Final
from typing import assert_never

from pytest_isolate.sandbox.mounts.values import Bind
from pytest_isolate.sandbox.mounts.values import File
from pytest_isolate.sandbox.rootfs import inside
from pytest_isolate.sandbox.rootfs.accounts import lacking
from pytest_isolate.sandbox.rootfs.copy_on_write import is_below_any
from pytest_isolate.sandbox.rootfs.host import Kind
from pytest_isolate.sandbox.spec import DirectoryRoot
from pytest_isolate.sandbox.spec import HostRoot
from pytest_isolate.sandbox.spec import MinimalRoot
from pytest_isolate.sandbox.spec import Network
from pytest_isolate.sandbox.spec import User

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_isolate.sandbox.mounts.values import Mount
    from pytest_isolate.sandbox.rootfs.host import Host
    from pytest_isolate.sandbox.spec import Spec

_LOCALHOST: Final = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
_NSSWITCH: Final = "passwd: files\ngroup: files\nhosts: files dns\n"
_NOBODY: Final = 65534
#: Fresh in each sandbox: what a link of /etc leads to there is put back.
_FRESH: Final = ("/run", "/tmp", "/var/tmp", "/dev/shm")  # noqa: S108
_NAME_SERVERS: Final = "/etc/resolv.conf"


def plan(spec: Spec, host: Host) -> Iterator[Mount]:
    """Return what goes over, or into, the /etc of the root."""
    match spec.root:
        case HostRoot():
            yield from _accounts(spec, host)
            if spec.hostname is not None and spec.hostname not in host.hosts.split():
                yield File(target="/etc/hosts", text=host.hosts + _own_name(spec))
        case DirectoryRoot():
            yield from _accounts(spec, host)
            yield File(target="/etc/hosts", text=_LOCALHOST + _own_name(spec))
            yield from _name_servers(spec, host)
        case MinimalRoot():
            yield File(target="/etc/passwd", text=_passwd(host))
            yield File(target="/etc/group", text=_group(host))
            yield File(target="/etc/hosts", text=_LOCALHOST + _own_name(spec))
            if spec.hostname is not None:
                yield File(target="/etc/hostname", text=f"{spec.hostname}\n")
            yield File(target="/etc/nsswitch.conf", text=_NSSWITCH)
            yield from _bind(host, "/etc/ld.so.cache")
            yield from _bind(host, "/etc/localtime")
            yield from _name_servers(spec, host)
        case _:
            assert_never(spec.root)


def led_away(spec: Spec, host: Host) -> Iterator[str]:
    """Yield the links of the host's /etc that lead to files where a sandbox has fresh directories.

    The name servers of systemd-resolved and NetworkManager are such. They are of no use without
    the host's network: without the file, nobody waits for an answer.
    """
    if not isinstance(spec.root, HostRoot):
        return
    for name in host.files.names("/etc"):
        path = f"/etc/{name}"
        node = host.files.node(path)
        if node is None or node.kind is not Kind.SYMLINK:
            continue
        if path == _NAME_SERVERS and spec.network is not Network.HOST:
            continue
        target = host.files.real(path)
        if is_below_any(target, _FRESH):
            led = host.files.node(target)
            if led is not None and led.kind is Kind.OTHER and led.regular:
                yield path


def _accounts(spec: Spec, host: Host) -> Iterator[Mount]:
    """Yield the root's files of accounts with the caller's, if they lack it."""
    top = host.files.real(spec.root.path) if isinstance(spec.root, DirectoryRoot) else ""
    is_0 = spec.user is User.ROOT and not host.privileged
    uids, gids = ([0], [0]) if is_0 else ([host.uid], [host.gid])
    if host.privileged:  # other groups are mapped as well
        gids = list(host.accounts.groups)
    for path, known, ids in (
        ("/etc/passwd", host.accounts.users, uids),
        ("/etc/group", host.accounts.groups, gids),
    ):
        place = inside.find(host.files, top, path)
        text = None if place.missing else host.files.text(top + place.path)
        if text is None:
            continue
        added = lacking(text, (known[number] for number in ids if number in known))
        if added:
            end = "\n" if text and not text.endswith("\n") else ""
            yield File(target=path, text=f"{text}{end}{added}")


def _own_name(spec: Spec) -> str:
    # A name of its own address, as Debian does: 127.0.0.1 stays `localhost` in reverse look-ups.
    return "" if spec.hostname is None else f"127.0.1.1\t{spec.hostname}\n"


def _name_servers(spec: Spec, host: Host) -> Iterator[Mount]:
    if spec.network is Network.HOST:
        yield from _bind(host, _NAME_SERVERS)


def _bind(host: Host, path: str) -> Iterator[Mount]:
    source = host.files.real(path)
    if host.files.node(source) is not None:
        yield Bind(target=path, source=source, directory=False, recursive=False)


def _passwd(host: Host) -> str:
    users = {0: "root:x:0:0:root:/root:/bin/sh"}
    users[_NOBODY] = f"nobody:x:{_NOBODY}:{_NOBODY}:nobody:/nonexistent:/usr/sbin/nologin"
    if host.uid not in users:
        users[host.uid] = f"{host.user}:x:{host.uid}:{host.gid}::{host.home}:/bin/sh"
    return "".join(f"{line}\n" for line in users.values())


def _group(host: Host) -> str:
    groups = {0: "root:x:0:", 5: "tty:x:5:", _NOBODY: f"nogroup:x:{_NOBODY}:"}
    groups.setdefault(host.gid, f"{host.group}:x:{host.gid}:")
    return "".join(f"{line}\n" for line in groups.values())
