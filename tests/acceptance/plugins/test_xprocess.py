"""pytest-xprocess: no id of a sandbox's process is taken for one of the machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite


def test_processes_end_with_the_test_and_leave_no_id(suite: Suite) -> None:
    suite.write({
        "conftest.py": """
            import sys
            import pytest
            from xprocess import ProcessStarter

            SERVER = '''
            import socket, time
            listener = socket.create_server(("127.0.0.1", 8731))
            print("ready", flush=True)
            while True:
                listener.accept()[0].close()
            '''
            @pytest.fixture(scope="session")
            def server(xprocess):
                class Starter(ProcessStarter):
                    pattern = "ready"
                    timeout = 60
                    args = [sys.executable, "-c", SERVER.replace("\\n            ", "\\n")]
                xprocess.ensure("server", Starter)
                return 8731
        """,
        "a": """
            import socket

            def test_one(server): socket.create_connection(("127.0.0.1", server)).close()
            def test_two(server): socket.create_connection(("127.0.0.1", server)).close()
        """,
    })

    run = suite.run("--isolate", "-p", "xprocess.pytest_xprocess")
    shown = suite.run("-p", "xprocess.pytest_xprocess", "--xshow")

    assert "2 passed" in run.output
    assert len([one for one in run.told if "processes of pytest-xprocess end with" in one]) == 1
    assert not list(suite.directory.rglob("xprocess.PID"))
    assert "LIVE" not in shown.output
    assert "DEAD" not in shown.output
