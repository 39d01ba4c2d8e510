"""PyCharm's debugger stops in isolated tests: its published package, and a stand-in for the IDE."""

from __future__ import annotations

from contextlib import suppress
import importlib.util
import re
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING
from typing import Any
from typing import Final
from urllib.parse import unquote

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
#: Commands of the debugger's protocol.
_NEW_PORT, _RUN, _SUSPENDED, _GO_ON, _SET_BREAK, _VERSION = 99, 101, 105, 106, 111, 501


class Ide:
    """The IDE: gives each process that asks a port of its own, and goes on from each breakpoint."""

    def __init__(self, door: socket.socket, file: str, lines: list[int]) -> None:
        self.stops: list[tuple[str, int]] = []  #: function and line
        self.processes = 0
        self._file, self._lines = file, lines
        self._door = door
        threading.Thread(target=self._answer, daemon=True).start()

    def _answer(self) -> None:
        with suppress(OSError):  # it is closed at the end
            while True:
                asking, _ = self._door.accept()
                threading.Thread(target=self._follow, args=(asking,), daemon=True).start()

    def _follow(self, asking: socket.socket) -> None:
        with asking, socket.create_server(("127.0.0.1", 0)) as listener:
            asking.sendall(f"{_NEW_PORT}\t-1\t{listener.getsockname()[1]}\n".encode())
            process, _ = listener.accept()
        self.processes += 1
        with process, process.makefile("rwb") as stream, suppress(OSError):
            self._talk(stream)

    def _talk(self, stream: Any) -> None:

        def tell(command: int, text: str) -> None:
            stream.write(f"{command}\t1\t{text}\n".encode())
            stream.flush()

        tell(_VERSION, "1.0\tUNIX\tLINE")
        for line in self._lines:
            what = f"python-line\t{self._file}\t{line}\tNone\tNONE\tNone\tNone"
            tell(_SET_BREAK, what)
        tell(_RUN, "")
        for heard in stream:
            command, _, text = heard.decode().partition("\t")
            if command == str(_SUSPENDED):
                xml = unquote(text)
                frame = re.search(r'<frame id="[^"]*" name="(\w+)" [^>]*?line="(\d+)"', xml)
                thread = re.search(r'<thread id="([^"]+)"', xml)
                assert frame is not None
                assert thread is not None
                self.stops.append((frame[1], int(frame[2])))
                tell(_GO_ON, thread[1])


def test_breakpoints_in_isolated_tests_are_stopped_at(suite: Suite) -> None:
    path = suite.directory / "test_a.py"
    path.write_text(SUITE, encoding="utf-8")
    debugger, pytest = map(importlib.util.find_spec, ("pydevd", "pytest.__main__"))
    assert debugger is not None
    assert pytest is not None
    with socket.create_server(("127.0.0.1", 0)) as door:
        ide = Ide(door, str(path), [2, 5])
        command = [sys.executable, str(debugger.origin), "--multiproc", "--client", "127.0.0.1"]
        command += ["--port", str(door.getsockname()[1]), "--file", str(pytest.origin)]
        done = subprocess.run(
            [*command, "-p", "isolate", "--isolate"],
            cwd=suite.directory,
            capture_output=True,
            check=False,
            timeout=_PATIENCE_SECONDS,
        )
        door.shutdown(socket.SHUT_RDWR)

    assert b"2 passed" in done.stdout
    assert ide.stops == [("test_a", 5), ("helper", 2), ("helper", 2)]
    assert ide.processes == 3  # pytest's, and one for each test
