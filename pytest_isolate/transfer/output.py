"""What a test has printed and logged and not reported yet: kept where its parent can read it.

Each test process gets files of its own, in place of pytest's: with `--capture=fd` as the files
that pytest captures in; with `sys` and `tee-sys`, and for logs, as a mirror of what it captures
in memory. So the last words of a dead test are there, and what its leftover processes go on
saying does not get into the next test's. Of what is very long only the head and the tail
are kept, see `kept`.
"""

from __future__ import annotations

from functools import cache
from functools import partial
import io
import os
import tempfile
from typing import TYPE_CHECKING
from typing import Final
from typing import final

from pytest_isolate._compat import capture
from pytest_isolate.sandbox.linux import mountinfo
from pytest_isolate.transfer import bounded_file
from pytest_isolate.wire.real_os import RealOS

if TYPE_CHECKING:
    from typing import IO

    import pytest
    from typing_extensions import Buffer

    from pytest_isolate._compat.capture import LogCaptureHandler

#: How much of a stream is kept, in bytes.
KEPT: Final = 16 * 1024 * 1024
#: Of a test's memory cap no more than one in so many bytes: its reports are put together under it.
_SHARE: Final = 16
_IN_MEMORY: Final = frozenset({"ramfs", "tmpfs"})
#: In seconds, how often a test's output is looked at; and how often while there is much of it.
_LOOK: Final = 0.05
_LOOK_AGAIN: Final = 0.005
_LOG: Final = 3  #: after standard output and error
_NAMES: Final = {1: "stdout", 2: "stderr", _LOG: "log"}


def kept(cap: int | None) -> int:
    """Return how many bytes of a stream are kept of a test whose memory cap is *cap*."""
    return KEPT if cap is None else min(KEPT, cap // _SHARE)


@final
class Output:
    """The captured standard output, error and logs of one test process."""

    def __init__(self, config: pytest.Config, *, cap: int | None) -> None:
        self._config = config
        self._kept = kept(cap)
        streams = {*capture.capture_files(config), *capture.capture_streams(config)}
        if capture.log_handler(config) is not None:
            streams.add(_LOG)
        self._files: dict[int, IO[bytes]] = {
            stream: tempfile.TemporaryFile(buffering=0, dir=_place())  # noqa: SIM115  # closed by close
            for stream in sorted(streams)
        }

    @property
    def fds(self) -> tuple[int, ...]:
        """The descriptors that the test process needs."""
        return tuple(file.fileno() for file in self._files.values())

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()

    def keep_house(self) -> float:
        """Let go of what there is too much of; return in how many seconds to look again."""
        trimmed = [bounded_file.trim(file.fileno(), self._kept) for file in self._files.values()]
        return _LOOK_AGAIN if any(trimmed) else _LOOK

    def redirect(self) -> None:
        """Let what is captured go here, in the test process."""
        for stream, fd in capture.capture_files(self._config).items():
            os.dup2(self._files[stream].fileno(), fd, inheritable=False)
        capture.bound_captures(
            self._config,
            partial(bounded_file.fits, kept=self._kept),
            partial(bounded_file.read, kept=self._kept, errors="replace"),
        )
        for stream, memory in capture.capture_streams(self._config).items():
            file = _Captured(self._files[stream].fileno(), self._kept)
            # The object has to stay the same one: `sys.stdout` is set to it when a phase begins.
            io.TextIOWrapper.__init__(
                memory, file, encoding="UTF-8", newline="", write_through=True
            )
        if (handler := capture.log_handler(self._config)) is not None:
            _redirect_log(handler, self._files[_LOG].fileno(), self._kept)

    def read(self) -> dict[str, str]:
        """Return what the test process has left, by the stream's name."""
        return {
            _NAMES[stream]: bounded_file.read(file.fileno(), self._kept, "backslashreplace")
            for stream, file in self._files.items()
        }


@cache
def _place() -> str:
    """Return a directory for the files: on a disk, if there is one.

    The pages of a file count as memory of the test that writes them. Those of a file on a disk are
    given back before anything is killed for them; in a tmpfs they are not.
    """
    usual = tempfile.gettempdir()
    mounts = mountinfo.current()
    for place in (usual, "/var/tmp"):  # noqa: S108  # the file has no name there
        mount = mountinfo.holding(os.path.realpath(place), mounts)
        if mount and mount.fstype not in _IN_MEMORY and os.access(place, os.W_OK | os.X_OK):
            return place
    return usual


@final
class _Captured(io.BytesIO):
    """A file in place of the memory that pytest captures in.

    What processes write that the test forks is lost with them, as in memory.
    """

    def __init__(self, fd: int, kept: int) -> None:
        super().__init__()
        self._fd = fd
        self._kept = kept
        self._owner = RealOS.getpid()

    def write(self, data: Buffer, /) -> int:
        if RealOS.getpid() != self._owner:
            return memoryview(data).nbytes
        return _write(self._fd, data)

    def getvalue(self) -> bytes:
        if bounded_file.fits(self._fd, self._kept):
            return RealOS.pread(self._fd, self._kept, 0)
        return bounded_file.read(self._fd, self._kept, "replace").encode()

    def truncate(self, size: int | None = None, /) -> int:
        # pytest truncates when it takes the whole, never a part.
        bounded_file.empty(self._fd)
        return super().truncate(size)


@final
class _Logged(io.StringIO):
    """A file in place of the text that a log handler writes to."""

    def __init__(self, fd: int, kept: int) -> None:
        super().__init__()
        self._fd = fd
        self._kept = kept
        self._owner = RealOS.getpid()

    def write(self, text: str, /) -> int:
        if RealOS.getpid() == self._owner:
            _write(self._fd, text.encode(errors="surrogatepass"))
        return len(text)

    def getvalue(self) -> str:
        return bounded_file.read(self._fd, self._kept, "surrogatepass")


def _redirect_log(handler: LogCaptureHandler, fd: int, kept: int) -> None:
    reset = handler.reset

    def reset_to_file() -> None:
        reset()
        bounded_file.empty(fd)
        handler.stream = _Logged(fd, kept)

    handler.reset = reset_to_file  # type: ignore[method-assign]  # of this one, in this process


def _write(fd: int, data: Buffer) -> int:
    """Write all of *data*: of more than 2 GiB one call writes a part, see write(2)."""
    rest = memoryview(data).cast("B")
    size = len(rest)
    while rest:
        rest = rest[RealOS.write(fd, rest) :]
    return size
