"""Programs that talk over the network of their own."""

from __future__ import annotations

import json
import os
import socket
import ssl
from typing import TYPE_CHECKING

from tests.programs.uses.helping import answers
from tests.programs.uses.helping import eventually
from tests.programs.uses.helping import found
from tests.programs.uses.helping import free_port
from tests.programs.uses.helping import run
from tests.programs.uses.helping import serving

if TYPE_CHECKING:
    from pathlib import Path

import pytest


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Make a key, and a certificate that says it is 127.0.0.1's."""
    made = tmp_path / "certificate.pem"
    run(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-subj", "/CN=here", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2",
        "-keyout", tmp_path / "key.pem", "-out", made,
    )  # fmt: skip
    return made


def test_curl(tmp_path: Path) -> None:
    (tmp_path / "page").write_text("x" * 100_000, encoding="utf-8")
    port = free_port()
    pages = ["busybox", "httpd", "-f", "-p", f"127.0.0.1:{port}", "-h", tmp_path]
    with serving(*pages, log=tmp_path / "log", ready=lambda: answers(port), statuses=(-15,)):
        address = f"http://127.0.0.1:{port}"
        said = run("curl", "-sS", "-o", tmp_path / "got", "-w", "%{http_code}", f"{address}/page")
        missing = run("curl", "-sSf", f"{address}/nothing", status=22)
    refused = run("curl", "-sS", address, status=7)

    assert said == "200"
    assert (tmp_path / "got").stat().st_size == 100_000
    assert "404" in missing
    assert "Failed to connect" in refused


def test_wget(tmp_path: Path) -> None:
    (tmp_path / "page").write_text("fetched", encoding="utf-8")
    port = free_port()
    pages = ["busybox", "httpd", "-f", "-p", f"127.0.0.1:{port}", "-h", tmp_path]
    with serving(*pages, log=tmp_path / "log", ready=lambda: answers(port), statuses=(-15,)):
        said = run("wget", "-q", "-O", "-", f"http://127.0.0.1:{port}/page")

    assert said == "fetched"


def test_openssl(certificate: Path, tmp_path: Path) -> None:
    port = free_port()
    key = tmp_path / "key.pem"
    server = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", certificate]
    server += ["-key", key, "-www", "-quiet"]
    with serving(*server, log=tmp_path / "log", ready=lambda: answers(port), statuses=(-15,)):
        context = ssl.create_default_context(cafile=certificate)
        with (
            socket.create_connection(("127.0.0.1", port), timeout=60) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as one,
        ):
            version = one.version()
        said = run("curl", "-sS", "--cacert", certificate, f"https://127.0.0.1:{port}/")

    assert version == "TLSv1.3"
    assert "s_server" in said


def test_socat(tmp_path: Path) -> None:
    port, door = free_port(), tmp_path / "door"
    listening = ["socat", f"TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr"]
    echo = ["socat", f"UNIX-LISTEN:{door},fork", "EXEC:cat"]
    with (
        serving(*echo, log=tmp_path / "1", ready=door.exists, statuses=(143,)),
        serving(
            *listening, f"UNIX-CONNECT:{door}",
            log=tmp_path / "2", ready=lambda: answers(port), statuses=(143,),
        ),
    ):  # fmt: skip
        said = run("socat", "-t", "60", "-", f"TCP:127.0.0.1:{port}", text="there and back\n")
        at_terminal = run("socat", "-", "EXEC:tty,pty,setsid,ctty")

    assert said == "there and back\n"
    assert at_terminal.startswith("/dev/pts/")


def test_netcat(tmp_path: Path) -> None:
    port = free_port()
    server = ["nc", "-l", "-N", "127.0.0.1", str(port)]
    # One connection is all that it takes: asking whether it is there would be that.
    with serving(*server, log=tmp_path / "log", ready=lambda: _listened(port)) as process:
        run("nc", "-N", "127.0.0.1", str(port), text="sent\n")
        process.wait(60)

    assert (tmp_path / "log").read_text(encoding="utf-8") == "sent\n"


def _listened(port: int) -> bool:
    return f"127.0.0.1:{port}" in run(found("ss"), "-tln")


def test_iproute() -> None:
    # In a network that is this command's own: the same within a sandbox and without.
    script = """
        ip link set lo up
        ip link add one type veth peer name two && ip addr add 192.0.2.1/24 dev one
        ip link set one up; ip link set two up
        ip route add 198.51.100.0/24 via 192.0.2.2
        ip -json addr show dev one; ip route get 198.51.100.9; ss -H -tln
    """
    apart = ["unshare", "--user", "--map-root-user", "--net"]

    first, *rest = run(*apart, "sh", "-ec", script).splitlines()

    (link,) = json.loads(first)
    assert [one["local"] for one in link["addr_info"] if one["family"] == "inet"] == ["192.0.2.1"]
    assert rest[0].startswith("198.51.100.9 via 192.0.2.2 dev one")
    assert "127.0.0.1/8" in run(found("ip"), "addr", "show", "dev", "lo")


def test_tcpdump(tmp_path: Path) -> None:
    port, seen = free_port(socket.SOCK_DGRAM), tmp_path / "seen"
    listening = ["tcpdump", "-i", "lo", "-U", "-w", seen, "-Z", "root", "udp", "port", str(port)]
    if os.geteuid() != 0:
        assert "permission" in run(*listening, status=1)
        return
    with (
        serving(
            *listening,
            log=(log := tmp_path / "log"),
            ready=lambda: b"listening" in log.read_bytes(),
        ),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        sender.sendto(b"hello", ("127.0.0.1", port))
        eventually(lambda: "hello" in run("tcpdump", "-n", "-A", "-r", seen))


def test_nmap(tmp_path: Path) -> None:
    port, other = free_port(), free_port()
    with socket.create_server(("127.0.0.1", port)):
        said = run("nmap", "-n", "-sT", "-Pn", f"-p{port},{other}", "127.0.0.1", cwd=tmp_path)

    assert f"{port}/tcp open" in " ".join(said.split())
    assert f"{other}/tcp closed" in " ".join(said.split())


def test_ping() -> None:
    assert " 0% packet loss" in run("ping", "-c", "1", "127.0.0.1")
    assert " 0% packet loss" in run("ping", "-c", "1", "::1")
