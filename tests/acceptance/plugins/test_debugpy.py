"""VS Code's debugger stops in isolated tests: debugpy, and a client that speaks its protocol."""

from __future__ import annotations

from contextlib import suppress
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING
from typing import Any
from typing import Final

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite

SUITE = """\
def helper(number):
    return number + 1

def test_a():
    assert helper(1) == 2

def test_b():
    assert helper(2) == 3
"""
_PATIENCE_SECONDS: Final = 100.0


class Ide:
    """A client that goes on from each breakpoint, and attaches to each process it is told of."""

    def __init__(self, file: str, lines: list[int]) -> None:
        self.stops: list[tuple[str, int]] = []  #: function and line
        self.processes = 0
        self._breakpoints = {"source": {"path": file}, "breakpoints": [{"line": n} for n in lines]}

    def attach(self, port: int, how: dict[str, Any]) -> None:
        """Attach to the process behind *port*, and follow it in a thread."""
        self.processes += 1
        threading.Thread(target=self._follow, args=(port, how), daemon=True).start()

    def _follow(self, port: int, how: dict[str, Any]) -> None:
        with connected(port) as connection, connection.makefile("rwb") as stream:
            self._talk(stream, how)

    def _talk(self, stream: Any, how: dict[str, Any]) -> None:
        numbers = itertools.count(1)

        def ask(command: str, **arguments: Any) -> None:
            request = {"seq": next(numbers), "type": "request", "command": command}
            body = json.dumps({**request, "arguments": arguments}).encode()
            stream.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
            stream.flush()

        with suppress(OSError, ValueError):  # the process has ended
            ask("initialize", adapterID="test", pathFormat="path")
            ask("attach", **how)
            while header := stream.readline():
                if not header.startswith(b"Content-Length:"):
                    continue
                stream.readline()
                message = json.loads(stream.read(int(header.split(b":")[1])))
                if message.get("event") == "terminated":
                    return  # the adapter ends when nobody is connected to it
                self._hear(message, ask)

    def _hear(self, message: dict[str, Any], ask: Any) -> None:
        body = message.get("body", {})
        match message.get("event") or message.get("command"):
            case "initialized":
                ask("setBreakpoints", **self._breakpoints)
                ask("configurationDone")
            case "debugpyAttach":
                self.attach(body["connect"]["port"], body)
            case "stopped":
                ask("stackTrace", threadId=body["threadId"], levels=1)
                ask("continue", threadId=body["threadId"])
            case "stackTrace":
                for frame in body.get("stackFrames", ()):
                    self.stops.append((frame["name"], frame["line"]))
            case _:
                pass


def connected(port: int) -> socket.socket:
    """Return a connection to *port*, when somebody listens there."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < end:
        with suppress(OSError):
            return socket.create_connection(("127.0.0.1", port))
        time.sleep(0.05)
    msg = f"nobody listens at {port}"
    raise AssertionError(msg)


def debug(suite: Suite, *arguments: str, debugger: tuple[str, ...] = ()) -> tuple[Ide, str]:
    """Run a suite under debugpy and return what the IDE has seen, and pytest's output."""
    path = suite.directory / "test_a.py"
    path.write_text(SUITE, encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "debugpy", "--listen", str(port), "--wait-for-client"]
    command += [*debugger, "-m", "pytest", "-p", "isolate", *arguments]
    output = suite.directory.parent / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(command, cwd=suite.directory, stdout=file, stderr=file)
    try:
        ide = Ide(os.fspath(path), [2, 5])
        ide.attach(port, {"justMyCode": True})
        process.wait(_PATIENCE_SECONDS)
    finally:
        process.kill()
        process.wait()
    return ide, output.read_text("utf-8")


@pytest.mark.parametrize("network", ["loopback", "none", "host"])
def test_breakpoints_in_isolated_tests_are_stopped_at(network: str, suite: Suite) -> None:
    ide, output = debug(suite, "--isolate", f"--isolate-network={network}")

    assert "2 passed" in output
    assert ide.stops == [("test_a", 5), ("helper", 2), ("helper", 2)]
    assert ide.processes == 3  # pytest's, and one for each test


def test_debugger_that_follows_no_processes_is_told_of_and_holds_up_nothing(suite: Suite) -> None:
    ide, output = debug(suite, "--isolate", debugger=("--configure-subProcess", "false"))

    assert "2 passed" in output
    assert ide.stops == []
    assert output.count("isolate: the debugger does not follow into isolated tests") == 1


def test_time_limit_does_not_run_while_somebody_looks(suite: Suite) -> None:
    _, output = debug(suite, "--isolate", "--isolate-timeout=0.001")

    assert "2 passed" in output
