"""What a test has printed and logged and not reported yet: kept where its parent can read it.

Each test process gets files of its own, in place of pytest's: with `--capture=fd` as the files
that pytest captures in; with `sys` and `tee-sys`, and for logs, as a mirror of what it captures
in memory. So the last words of a dead test are there, and what its leftover processes go on
saying does not get into the next test's.
"""

from __future__ import annotations

import io
import os
from tempfile import TemporaryFile
from typing import TYPE_CHECKING
from typing import Final
from typing import final

from pytest_isolate import _compat

if TYPE_CHECKING:
    import logging
    from typing import IO

    import pytest
    from typing_extensions import Buffer

    from pytest_isolate._compat import LogCaptureHandler

#: How much of a dead test's output is kept, in bytes; the end matters most.
_LIMIT: Final = 4 * 1024 * 1024
_LOG: Final = 3  #: after standard output and error
_NAMES: Final = {1: "stdout", 2: "stderr", _LOG: "log"}


@final
class Output:
    """The captured standard output, error and logs of one test process."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        streams = {*_compat.capture_files(config), *_compat.capture_streams(config)}
        if _compat.log_handler(config) is not None:
            streams.add(_LOG)
        # Where pytest makes its own: in memory they would count against the test's cap.
        self._files: dict[int, IO[bytes]] = {
            stream: TemporaryFile(buffering=0)  # noqa: SIM115  # closed by close
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

    def redirect(self) -> None:
        """Let what is captured go here, in the test process."""
        for stream, fd in _compat.capture_files(self._config).items():
            os.dup2(self._files[stream].fileno(), fd, inheritable=False)
        for stream, memory in _compat.capture_streams(self._config).items():
            mirror = _Mirror(self._files[stream].fileno())
            # The object has to stay the same one: `sys.stdout` is set to it when a phase begins.
            io.TextIOWrapper.__init__(
                memory, mirror, encoding="UTF-8", newline="", write_through=True
            )
        if (handler := _compat.log_handler(self._config)) is not None:
            _mirror_log(handler, self._files[_LOG].fileno())

    def read(self) -> dict[str, str]:
        """Return what the test process has left, by the stream's name."""
        return {_NAMES[stream]: _read(file.fileno()) for stream, file in self._files.items()}


@final
class _Mirror(io.BytesIO):
    """What pytest captures in, and a file with the same content."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd

    def write(self, data: Buffer, /) -> int:
        os.write(self._fd, data)
        return super().write(data)

    def truncate(self, size: int | None = None, /) -> int:
        # pytest truncates when it takes the whole, never a part.
        _empty(self._fd)
        return super().truncate(size)


def _mirror_log(handler: LogCaptureHandler, fd: int) -> None:
    emit, reset = handler.emit, handler.reset

    def emit_too(record: logging.LogRecord) -> None:
        emit(record)
        os.write(fd, f"{handler.format(record)}\n".encode(errors="backslashreplace"))

    def reset_too() -> None:
        reset()
        _empty(fd)

    handler.emit = emit_too  # type: ignore[method-assign]  # of this one, in this process
    handler.reset = reset_too  # type: ignore[method-assign]


def _read(fd: int) -> str:
    size = os.fstat(fd).st_size
    start = max(0, size - _LIMIT)
    text = os.pread(fd, size - start, start).decode(errors="backslashreplace")
    return f"[the first {start} bytes are left out]\n{text}" if start else text


def _empty(fd: int) -> None:
    os.ftruncate(fd, 0)
    os.lseek(fd, 0, os.SEEK_SET)
