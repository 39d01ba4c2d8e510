"""Servers of the web, of names and of shells, and a client for each."""

from __future__ import annotations

import getpass
import os
from pathlib import Path
import signal
import socket
import struct
import tempfile
from typing import TYPE_CHECKING
from urllib.request import urlopen

from tests.programs.uses.helping import answers
from tests.programs.uses.helping import eventually
from tests.programs.uses.helping import found
from tests.programs.uses.helping import free_port
from tests.programs.uses.helping import run
from tests.programs.uses.helping import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

import pytest


@pytest.fixture
def site() -> Iterator[Path]:
    """Return a directory with a page, that a daemon's own user can read, as no `tmp_path`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "index.html").write_text("hello from here", encoding="utf-8")
        yield folder


def _page(port: int) -> str:
    with urlopen(f"http://127.0.0.1:{port}/index.html", timeout=30) as answer:
        text: str = answer.read().decode()
        return text


def test_nginx(site: Path, tmp_path: Path) -> None:
    port = free_port()
    user = "user www-data; " if os.geteuid() == 0 else ""
    places = " ".join(
        f"{name}_temp_path {tmp_path}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(
        f"{user}worker_processes 2; daemon off; pid {tmp_path}/pid; error_log stderr;"
        "events { worker_connections 64; }"
        f"http {{ access_log {tmp_path}/access; {places}"
        f"server {{ listen 127.0.0.1:{port}; root {site}; }} }}",
        encoding="utf-8",
    )
    server = [found("nginx"), "-p", tmp_path, "-e", "stderr", "-c", configuration]
    with serving(*server, log=tmp_path / "log", ready=lambda: answers(port)) as process:
        assert _page(port) == "hello from here"
        (site / "index.html").write_text("changed", encoding="utf-8")
        process.send_signal(signal.SIGHUP)  # new workers
        assert eventually(lambda: _page(port)) == "changed"
    assert "GET /index.html" in (tmp_path / "access").read_text(encoding="utf-8")


def test_apache(site: Path, tmp_path: Path) -> None:
    port = free_port()
    modules = Path("/usr/lib/apache2/modules")
    configuration = tmp_path / "apache.conf"
    configuration.write_text(
        f"LoadModule mpm_event_module {modules}/mod_mpm_event.so\n"
        f"LoadModule authz_core_module {modules}/mod_authz_core.so\n"
        f"ServerRoot {tmp_path}\nServerName localhost\nListen 127.0.0.1:{port}\n"
        f"PidFile {tmp_path}/pid\nErrorLog {tmp_path}/errors\nDocumentRoot {site}\n"
        f"DefaultRuntimeDir {tmp_path}\nUser www-data\nGroup www-data\n",
        encoding="utf-8",
    )
    server = [found("apache2"), "-D", "FOREGROUND", "-f", configuration]
    with serving(*server, log=tmp_path / "log", ready=lambda: answers(port)):
        assert _page(port) == "hello from here"


def test_lighttpd(site: Path, tmp_path: Path) -> None:
    port = free_port()
    configuration = tmp_path / "lighttpd.conf"
    configuration.write_text(
        f'server.document-root = "{site}"\nserver.port = {port}\nserver.bind = "127.0.0.1"\n'
        'mimetype.assign = ( ".html" => "text/html" )\n',
        encoding="utf-8",
    )
    server = [found("lighttpd"), "-D", "-f", configuration]
    # 1 is what it leaves with, at times, if it was stopped while it was starting.
    with serving(*server, log=tmp_path / "log", ready=lambda: answers(port), statuses=(0, 1)):
        assert _page(port) == "hello from here"


def test_haproxy(site: Path, tmp_path: Path) -> None:
    behind, before = free_port(), free_port()
    configuration = tmp_path / "haproxy.cfg"
    configuration.write_text(
        "defaults\n mode http\n timeout connect 60s\n timeout client 60s\n timeout server 60s\n"
        f"frontend here\n bind 127.0.0.1:{before}\n default_backend there\n"
        f"backend there\n server one 127.0.0.1:{behind}\n",
        encoding="utf-8",
    )
    pages = ["busybox", "httpd", "-f", "-p", f"127.0.0.1:{behind}", "-h", site]
    proxy = [found("haproxy"), "-W", "-f", configuration]
    with (
        serving(*pages, log=tmp_path / "1", ready=lambda: answers(behind), statuses=(-15,)),
        serving(*proxy, log=tmp_path / "2", ready=lambda: answers(before), statuses=(0, 143, -15)),
    ):
        assert _page(before) == "hello from here"


@pytest.fixture
def separation() -> Iterator[None]:
    """Make the directory that sshd, started as root, wants in /run: its service's unit does."""
    place = Path("/run/sshd")
    missing = os.geteuid() == 0 and not place.exists()
    if missing:
        place.mkdir(mode=0o755)
    yield
    if missing:
        place.rmdir()


@pytest.mark.usefixtures("separation")
def test_ssh(tmp_path: Path) -> None:
    port = free_port()
    for key in ("host", "mine"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / key)
    configuration = tmp_path / "sshd_config"
    configuration.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {tmp_path}/host\nPidFile none\n"
        f"AuthorizedKeysFile {tmp_path}/mine.pub\nStrictModes no\nUsePAM no\n"
        "Subsystem sftp internal-sftp\n",
        encoding="utf-8",
    )
    known = [f"-oUserKnownHostsFile={tmp_path}/known", "-oStrictHostKeyChecking=accept-new"]
    options = [*known, "-F", "none", "-i", tmp_path / "mine", "-oBatchMode=yes"]
    there = f"{getpass.getuser()}@127.0.0.1"
    server = [found("sshd"), "-D", "-e", "-f", configuration]
    with serving(*server, log=tmp_path / "log", ready=lambda: answers(port), statuses=(0, 255)):
        said = run("ssh", *options, "-p", str(port), there, "cat; echo $((6 * 7))", text="sent\n")
        if os.geteuid() == 0:  # the terminal's owner is changed
            at_terminal = run("ssh", *options, "-tt", "-p", str(port), there, "tty")
            assert "/dev/pts/" in at_terminal
        (tmp_path / "file").write_text("copied", encoding="utf-8")
        copied = tmp_path / "copy"
        run("scp", *options, "-P", str(port), tmp_path / "file", f"{there}:{copied}")

        assert said.endswith("sent\n42\n")
        assert copied.read_text(encoding="utf-8") == "copied"


def test_dnsmasq(tmp_path: Path) -> None:
    port = free_port(socket.SOCK_DGRAM)
    server = [found("dnsmasq"), "--keep-in-foreground", "--conf-file=/dev/null", "--no-hosts"]
    server += ["--no-resolv", "--listen-address=127.0.0.1", "--bind-interfaces", f"--port={port}"]
    server += ["--address=/example.test/192.0.2.7", "--user=", "--group=", "--pid-file="]
    with serving(*server, log=tmp_path / "log", ready=lambda: _address("a.example.test", port)):
        assert _address("example.test", port) == "192.0.2.7"


def _address(name: str, port: int) -> str:
    """Ask the server of names at *port* for the address of *name*."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    query = struct.pack("!6H", 1, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(5)
        asking.connect(("127.0.0.1", port))
        asking.send(query)
        return socket.inet_ntoa(asking.recv(512)[-4:])


def test_dbus(tmp_path: Path) -> None:
    said = run(
        "dbus-run-session", "--", "dbus-send", "--session", "--print-reply", "--type=method_call",
        "--dest=org.freedesktop.DBus", "/", "org.freedesktop.DBus.ListNames", cwd=tmp_path,
    )  # fmt: skip

    assert 'string "org.freedesktop.DBus"' in said
