"""Step 7: what containers are for: what cannot share a machine, side by side.

Two services that both want port 5432, and two programs that need different Javas.
"""

from __future__ import annotations

import os
from pathlib import Path
import socket
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import subprocess

    from conftest import Start

SERVICE = (sys.executable, Path(__file__).with_name("service.py"))


def said(service: subprocess.Popen[str]) -> str:
    assert service.stdout
    return service.stdout.readline().strip()


@pytest.mark.isolated(enabled=False)
def test_two_services_listen_on_the_same_port_at_the_same_time(start: Start) -> None:
    with start("--", *SERVICE) as one, start("--", *SERVICE) as two:
        assert said(one).startswith("on port 5432")
        assert said(two).startswith("on port 5432")
        assert (one.poll(), two.poll()) == (None, None)


@pytest.mark.isolated(enabled=False)
def test_two_services_have_their_javas_at_the_same_time(start: Start) -> None:
    with (
        start("--env", "JAVA_HOME=/opt/java-8", "--", *SERVICE) as old,
        start("--env", "JAVA_HOME=/opt/java-11", "--", *SERVICE) as new,
    ):
        assert said(old) == "on port 5432 with /opt/java-8"
        assert said(new) == "on port 5432 with /opt/java-11"


# The same as tests: none knows of the other.


@pytest.mark.isolated(env={"JAVA_HOME": "/opt/java-8"})
def test_shop_on_java_8() -> None:
    assert os.environ["JAVA_HOME"] == "/opt/java-8"
    socket.create_server(("127.0.0.1", 5432)).close()


@pytest.mark.isolated(env={"JAVA_HOME": "/opt/java-11"})
def test_library_on_java_11() -> None:
    assert os.environ["JAVA_HOME"] == "/opt/java-11"
    socket.create_server(("127.0.0.1", 5432)).close()
