"""Step 2: a host name of its own (the UTS namespace).

The container is called what its maker says. It may even rename itself: the machine keeps its name.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Run

# A test module is imported outside, by pytest; its tests run inside.
MACHINE = socket.gethostname()


@pytest.mark.isolated(hostname="container-demo")
def test_is_called_as_asked() -> None:
    assert socket.gethostname() == "container-demo"


@pytest.mark.isolated(hostname="container-demo", user="root")
def test_root_of_the_container_renames_it() -> None:
    assert socket.gethostname() != MACHINE  # not with --no-isolate
    socket.sethostname("renamed")
    assert socket.gethostname() == "renamed"


@pytest.mark.isolated(enabled=False)
def test_machine_keeps_its_name(run: Run) -> None:
    done = run("--hostname", "container-demo", "--", "uname", "-n")
    assert done.stdout == "container-demo\n"
    assert socket.gethostname() == MACHINE
