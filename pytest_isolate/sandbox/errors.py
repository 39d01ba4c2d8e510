"""What can go wrong with a sandbox, in words for the person who asked for it."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING
from typing import final

from pytest_isolate.sandbox.features import Part

if TYPE_CHECKING:
    from types import TracebackType


class SandboxError(Exception):
    """A sandbox could not be had.

    *what* names the step and the object ("mount proc on /proc"), *why* the reason (the kernel's
    own words where it gave one), *fix* what its user can do about it, or "". *part* is what could
    not be had of a sandbox, where the step is about one part of it.
    """

    def __init__(
        self, what: str, why: str, fix: str = "", *, code: int = 0, part: Part | None = None
    ) -> None:
        super().__init__(what, why, fix)
        self.what = what
        self.why = why
        self.fix = fix
        self.code = code  #: the errno, or 0
        self.part = part

    def __str__(self) -> str:
        """Return one line: the step, the reason and the fix."""
        line = f"{self.what}: {self.why}"
        return f"{line} ({self.fix})" if self.fix else line

    @classmethod
    def from_os_error(
        cls, error: OSError, what: str = "", fix: str = "", *, part: Part | None = None
    ) -> SandboxError:
        """Return *error* of a system call, whose own text names the call and the path."""
        code = error.errno or 0
        call, _, why = (error.strerror or str(error)).partition(": ")
        if not why:
            call, why = "", os.strerror(code) if code else str(error)
        place = os.fsdecode(error.filename) if error.filename is not None else ""
        step = what or " ".join(word for word in (call, place) if word)
        return cls(step, why, fix, code=code, part=part)

    def to_json(self) -> dict[str, object]:
        """Return this error as JSON values."""
        return {
            "what": self.what,
            "why": self.why,
            "fix": self.fix,
            "code": self.code,
            "part": self.part,
        }

    @classmethod
    def from_json(cls, data: dict[str, object]) -> SandboxError:
        """Return the error that `to_json` wrote."""
        code, part = data["code"], data["part"]
        return cls(
            str(data["what"]),
            str(data["why"]),
            str(data["fix"]),
            code=code if isinstance(code, int) else 0,
            part=Part(part) if isinstance(part, str) else None,
        )

    @property
    def errno_name(self) -> str:
        """The errno's symbol, `EPERM`, or "" where no system call failed."""
        return errno.errorcode.get(self.code, "") if self.code else ""


@final
class step:  # noqa: N801  # reads as a statement: `with step("join cgroup"):`
    """Say what is being done: an `OSError` inside becomes a `SandboxError`.

    It names *what*, else the system call that failed, and the *part* of a sandbox that this is for.
    """

    __slots__ = ("_part", "_what")

    def __init__(self, what: str = "", part: Part | None = None) -> None:
        self._what = what
        self._part = part

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Translate."""
        if isinstance(error, OSError):
            raise SandboxError.from_os_error(error, self._what, part=self._part) from None


class KeeperError(Exception):
    """The keeper is gone or does not answer; the message says what it left behind."""
