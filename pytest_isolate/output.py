"""What a test has printed and logged and not reported yet: kept where its parent can read it.

With `--capture=fd` pytest captures in files that parent and child share after the fork. With
`sys` and `tee-sys`, and logs always, it captures in memory; the child mirrors that into files.
"""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING
from typing import Final
from typing import final

from pytest_isolate import _compat

if TYPE_CHECKING:
    import logging

    import pytest
    from typing_extensions import Buffer

    from pytest_isolate._compat import LogCaptureHandler

#: How much of a dead test's output is kept, in bytes; the end matters most.
_LIMIT: Final = 4 * 1024 * 1024
_LOG: Final = 3  #: after standard output and error
_NAMES: Final = {1: "stdout", 2: "stderr", _LOG: "log"}


@final
class Output:
    """The captured standard output, error and logs of one session's tests."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._mirrors: dict[int, int] = {}

    @property
    def mirrors(self) -> tuple[int, ...]:
        """The descriptors that a test process needs for `mirror`, made when there are none."""
        logs = () if _compat.log_handler(self._config) is None else (_LOG,)
        for stream in (*_compat.capture_streams(self._config), *logs):
            if stream not in self._mirrors:
                name = f"isolate-{_NAMES[stream]}"
                self._mirrors[stream] = os.memfd_create(name, os.MFD_CLOEXEC)
        return tuple(self._mirrors.values())

    def close(self) -> None:
        """Close what is ours."""
        for fd in self._mirrors.values():
            os.close(fd)
        self._mirrors.clear()

    def mirror(self) -> None:
        """Let what is captured in memory go to files as well, in a test process."""
        for stream, memory in _compat.capture_streams(self._config).items():
            mirror = _Mirror(self._mirrors[stream])
            # The object has to stay the same one: `sys.stdout` is set to it when a phase begins.
            io.TextIOWrapper.__init__(
                memory, mirror, encoding="UTF-8", newline="", write_through=True
            )

        if (handler := _compat.log_handler(self._config)) is not None:
            _mirror_log(handler, self._mirrors[_LOG])

    def take(self) -> dict[str, str]:
        """Return what a test process has left, by the stream's name, and forget it."""
        files = _compat.capture_files(self._config) | self._mirrors
        return {name: _take(files[stream]) for stream, name in _NAMES.items() if stream in files}


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


def _take(fd: int) -> str:
    size = os.fstat(fd).st_size
    if not size:
        return ""
    start = max(0, size - _LIMIT)
    text = os.pread(fd, size - start, start).decode(errors="backslashreplace")
    _empty(fd)
    return f"[the first {start} bytes are left out]\n{text}" if start else text


def _empty(fd: int) -> None:
    os.ftruncate(fd, 0)
    os.lseek(fd, 0, os.SEEK_SET)
