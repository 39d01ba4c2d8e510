"""The files of /etc that a sandbox has of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Final
from typing import assert_never

from pytest_isolate.sandbox.mounts.values import Bind
from pytest_isolate.sandbox.mounts.values import File
from pytest_isolate.sandbox.spec import DirectoryRoot
from pytest_isolate.sandbox.spec import HostRoot
from pytest_isolate.sandbox.spec import MinimalRoot
from pytest_isolate.sandbox.spec import Network

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_isolate.sandbox.mounts.values import Mount
    from pytest_isolate.sandbox.rootfs.host import Host
    from pytest_isolate.sandbox.spec import Spec

_LOCALHOST: Final = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
_NSSWITCH: Final = "passwd: files\ngroup: files\nhosts: files dns\n"
_NOBODY: Final = 65534


def plan(spec: Spec, host: Host) -> Iterator[Mount]:
    """Return what goes over, or into, the /etc of the root."""
    match spec.root:
        case HostRoot():
            if spec.hostname is not None and spec.hostname not in host.hosts.split():
                yield File(target="/etc/hosts", text=host.hosts + _own_name(spec))
        case DirectoryRoot():
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


def _own_name(spec: Spec) -> str:
    # A name of its own address, as Debian does: 127.0.0.1 stays `localhost` in reverse look-ups.
    return "" if spec.hostname is None else f"127.0.1.1\t{spec.hostname}\n"


def _name_servers(spec: Spec, host: Host) -> Iterator[Mount]:
    if spec.network is Network.HOST:
        yield from _bind(host, "/etc/resolv.conf")


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
