"""What the uses share: programs that are run, servers that are started, terminals."""

from __future__ import annotations

from contextlib import contextmanager
from contextlib import suppress
import os
import pty
import select
import shutil
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING
from typing import Final
from typing import Self
from typing import TypeVar
from typing import final

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator
    from collections.abc import Mapping
    from pathlib import Path

#: How long a program may take for anything, on a slow machine with other work.
PATIENCE_SECONDS: Final = 100.0

_T = TypeVar("_T")


def run(
    *command: object,
    text: str = "",
    status: int = 0,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run *command*, of words, paths and numbers, on *text*, and return what it wrote."""
    done = subprocess.run(
        list(map(str, command)),
        input=text,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        cwd=cwd,
        env={**os.environ, **(env or {})},
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    if done.returncode != status:
        msg = f"{command[0]} left with {done.returncode}, not {status}:\n{done.stdout}"
        raise AssertionError(msg)
    return done.stdout


def succeeds(*command: object) -> bool:
    """Return whether *command* can be run, and leaves with 0."""
    try:
        run(*command)
    except AssertionError:
        return False
    return True


def found(name: str) -> str:
    """Return the path of a program; Debian keeps daemons where an ordinary user does not look."""
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/local/sbin:/usr/sbin:/sbin")
    assert path, f"{name} is not installed"
    return path


def eventually(seen: Callable[[], _T]) -> _T:
    """Return what *seen* returns as soon as that is something; an OSError is nothing."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        last: object = None
        try:
            if value := seen():
                return value
        except OSError as error:
            last = error
        if time.monotonic() > end:
            msg = f"nothing after {PATIENCE_SECONDS} s: {last}"
            raise AssertionError(msg)
        time.sleep(0.05)


@contextmanager
def serving(
    *command: object,
    log: Path,
    ready: Callable[[], object],
    stop: signal.Signals = signal.SIGTERM,
    statuses: tuple[int, ...] = (0,),
    env: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Have a server while the body runs: it is *ready* before, and is stopped by *stop* after."""
    with log.open("wb") as output:
        server = subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
        )
    try:

        def seen() -> object:
            assert server.poll() is None, f"left with {server.returncode}"
            return ready()

        eventually(seen)
        yield server
        server.send_signal(stop)
        status = server.wait(PATIENCE_SECONDS)
        assert status in statuses, f"left with {status}"
    except AssertionError as error:
        error.add_note(log.read_text(encoding="utf-8", errors="replace"))
        raise
    finally:
        _end(server)


def _end(server: subprocess.Popen[bytes]) -> None:
    """End a server that was not stopped: one that is killed leaves its workers behind."""
    if server.poll() is None:
        server.terminate()
        try:
            server.wait(PATIENCE_SECONDS / 10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """Return a port of the loopback that nobody listens at."""
    with socket.socket(socket.AF_INET, kind) as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def answers(port: int) -> bool:
    """Say whether somebody listens at *port*."""
    socket.create_connection(("127.0.0.1", port), timeout=10).close()
    return True


@final
class Terminal:
    """A terminal with *command* in it, and somebody who types."""

    def __init__(
        self, *command: str, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        self.seen = ""
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            try:
                os.chdir(cwd or ".")
                # No shell is meant here.
                os.execvpe(  # noqa: S606
                    command[0], command, {**os.environ, "TERM": "xterm", **(env or {})}
                )
            finally:
                os._exit(127)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)  # hangs up
        with suppress(ChildProcessError, ProcessLookupError):
            if os.waitpid(self.pid, os.WNOHANG) == (0, 0):
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)

    def type(self, keys: str) -> None:
        """Press *keys*."""
        os.write(self._fd, keys.encode())

    def expect(self, words: str) -> str:
        """Wait for *words*, and return all before them that was not returned yet."""
        end = time.monotonic() + PATIENCE_SECONDS
        while words not in self.seen:
            assert self._take_in(end), f"{words!r} was not seen after {self.seen!r}"
        before, _, self.seen = self.seen.partition(words)
        return before

    def end(self) -> int:
        """Wait for the end of the command, and return its status."""
        end = time.monotonic() + PATIENCE_SECONDS
        while self._take_in(end):
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _take_in(self, end: float) -> bool:
        ready, _, _ = select.select([self._fd], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            return False
        try:
            self.seen += os.read(self._fd, 65536).decode(errors="replace")
        except OSError:  # nobody has the other side open
            return False
        return True
