"""What each setting takes, whoever wrote it: a marker, a flag, an ini file or a hook.

One function a kind of value: it takes what was written and returns what is meant, or raises
`WrongValue` saying what is allowed. Flags and ini files write text, so a number is taken as text
as well. Nothing here knows pytest, and only paths look at the file system.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
import enum
import math
import os
from pathlib import Path
import re
import sys
from typing import Final
from typing import TypeVar

from pytest_isolate.policy import sizes
from pytest_isolate.sandbox.spec import DirectoryRoot
from pytest_isolate.sandbox.spec import HostRoot
from pytest_isolate.sandbox.spec import MinimalRoot
from pytest_isolate.sandbox.spec import Root

#: Below this not even the test's own process would fit.
MEMORY_FLOOR: Final = 4 * 1024**2
#: The kernel counts bytes in a signed long, and above its last page there is no cap.
MEMORY_CEILING: Final = 2**63 - 2**16
#: PID_MAX_LIMIT, above which the pids controller answers EINVAL.
PIDS_CEILING: Final = 4 * 1024**2
#: cpu.cfs_quota_us is at least 1 ms, here of a period of 100 ms.
CPUS_FLOOR: Final = 0.01
#: poll(2) counts milliseconds in an int.
TIMEOUT_CEILING: Final = (2**31 - 1) // 1000
#: sethostname(2): __NEW_UTS_LEN.
HOSTNAME_CEILING: Final = 64

#: Root file systems that have a name.
ROOTS: Final[Mapping[str, Root]] = {"host": HostRoot(), "minimal": MinimalRoot()}

_SHOWN: Final = 80
_MEMORY_RANGE: Final = f"at least {sizes.format_size(MEMORY_FLOOR)}, or none"
_HOSTNAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]*", re.ASCII | re.IGNORECASE)
_Word = TypeVar("_Word", bound=enum.StrEnum)


def shown(value: object) -> str:
    """Return *value* as an error names it: its repr, in one short line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


class WrongValue(ValueError):  # noqa: N818  # it reads as what it is
    """A value that its setting does not take; the message says what is allowed."""


def switch(value: object) -> bool:
    """Return *value*, which must be a boolean."""
    if not isinstance(value, bool):
        msg = "not a boolean; write True or False"
        raise WrongValue(msg)
    return value


def word(kind: type[_Word], value: object) -> _Word:
    """Return the member of *kind* that *value* names."""
    if isinstance(value, str) and value in list(kind):
        return kind(value)
    msg = f"unknown; write one of {', '.join(kind)}"
    raise WrongValue(msg)


def memory(value: object) -> int | None:
    """Return a memory cap in bytes."""
    if _is_none(value):
        return None
    whole = isinstance(value, int | str) and not isinstance(value, bool)
    try:
        size = sizes.parse_size(str(value) if whole else "")
    except ValueError as error:
        raise WrongValue(str(error)) from None
    if not MEMORY_FLOOR <= size <= MEMORY_CEILING:
        msg = f"{sizes.format_size(size)} is no cap to run a test under; write {_MEMORY_RANGE}"
        raise WrongValue(msg)
    return size


def timeout(value: object) -> float | None:
    """Return a time limit in seconds."""
    if _is_none(value):
        return None
    seconds = _number(value)
    if not 0 < seconds <= TIMEOUT_CEILING:
        msg = f"not a time limit; write seconds above 0, at most {TIMEOUT_CEILING}, or none"
        raise WrongValue(msg)
    return seconds


def pids(value: object) -> int | None:
    """Return a cap on processes and threads."""
    if _is_none(value):
        return None
    number = _number(value)
    if not 1 <= number <= PIDS_CEILING or not number.is_integer():
        msg = f"not a number of processes; write 1 to {PIDS_CEILING}, or none"
        raise WrongValue(msg)
    return int(number)


def top(value: object) -> int | None:
    """Return how many tests a list has; 0 is all of them, and `None` no list."""
    if _is_none(value):
        return None
    number = _number(value)
    if not number >= 0 or not number.is_integer():
        msg = "not a number of tests; write a whole number, 0 for all of them, or none"
        raise WrongValue(msg)
    return int(number)


def cpus(value: object) -> float | None:
    """Return a cap on CPU seconds per second."""
    if _is_none(value):
        return None
    number = _number(value)
    if not CPUS_FLOOR <= number < math.inf:
        msg = f"not a number of CPUs; write a number, at least {CPUS_FLOOR}, or none"
        raise WrongValue(msg)
    return number


def hostname(value: object) -> str:
    """Return a host name."""
    name = _text(value)
    if len(name) > HOSTNAME_CEILING or not _HOSTNAME.fullmatch(name):
        msg = (
            f"not a host name; write at most {HOSTNAME_CEILING} letters, digits, '.', '_' and '-',"
            " the first a letter or digit"
        )
        raise WrongValue(msg)
    return name


def environment(value: object) -> tuple[tuple[str, str], ...]:
    """Return variables to add, sorted, of a mapping or of lines `NAME=VALUE`."""
    if isinstance(value, Mapping):
        pairs = [(_text(name), _text(text)) for name, text in value.items()]
    else:
        lines = [_text(line) for line in _many(value)]
        if bare := next((line for line in lines if "=" not in line), None):
            msg = f"{bare!r} has no value; write NAME=VALUE"
            raise WrongValue(msg)
        pairs = [(name, text) for name, _, text in (line.partition("=") for line in lines)]
    for name, _ in pairs:
        if not name or "=" in name:
            msg = f"{name!r} is not a variable's name; write one without '='"
            raise WrongValue(msg)
    return tuple(sorted(dict(pairs).items()))


def patterns(value: object) -> tuple[str, ...] | None:
    """Return patterns of variables to keep; `None` keeps everything."""
    if value is None:
        return None
    found = {_text(pattern) for pattern in _many(value)}
    for pattern in sorted(found):
        if not pattern or re.search(r"[=,\s]", pattern):
            msg = f"{pattern!r} is not a variable's name or pattern; write a list of such as PIP_*"
            raise WrongValue(msg)
    return tuple(sorted(found))


def paths(value: object, base: str) -> tuple[str, ...]:
    """Return paths, which must exist, absolute and sorted; relative ones start at *base*."""
    found = {_existing(path, base) for path in _many(value)}
    if "/" in found:
        msg = "'/' is the whole machine; write what is to be written to"
        raise WrongValue(msg)
    return tuple(sorted(found))


def directory(value: object, base: str) -> str | None:
    """Return a directory that is there or can be made; a relative one starts at *base*."""
    if value is None:
        return None
    text = _text(os.fspath(value) if isinstance(value, os.PathLike) else value)
    path = Path(base, text)
    if not text or not path.is_absolute():
        msg = f"{text!r} is no directory's path; write an absolute one"
        raise WrongValue(msg)
    _check_answers(path)
    if path.exists() and not path.is_dir():
        msg = f"{path}: Not a directory"
        raise WrongValue(msg)
    return os.path.normpath(path)


def root(value: object, base: str) -> Root:
    """Return a root file system; a relative directory starts at *base*."""
    if isinstance(value, str) and "/" not in value and value not in {".", ".."}:
        if value in ROOTS:
            return ROOTS[value]
        msg = f"unknown; write one of {', '.join(ROOTS)}, or a directory with a slash in it"
        raise WrongValue(msg)
    path = _existing(value, base)
    if not Path(path).is_dir():
        msg = f"{path}: Not a directory"
        raise WrongValue(msg)
    if path == "/":
        msg = "'/' is the machine's own root; write host"
        raise WrongValue(msg)
    return DirectoryRoot(path)


def _is_none(value: object) -> bool:
    """Return whether *value* switches a cap off: a marker's None, or a flag's or ini's `none`."""
    return value is None or (isinstance(value, str) and value.strip().lower() == "none")


def _number(value: object) -> float:
    """Return the number that *value* is or spells, or NaN, which no limit takes."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):  # not a number; an int beyond every float
        return math.nan


def _many(value: object) -> list[object]:
    """Return the items of a list; text and a path alone are a list of one."""
    if isinstance(value, str | os.PathLike):
        return [value]
    if isinstance(value, bytes | Mapping) or not isinstance(value, Iterable):
        msg = "not a list; write a list of strings"
        raise WrongValue(msg)
    return list(value)


def _text(value: object) -> str:
    """Return *value* if the kernel takes it as a string."""
    if not isinstance(value, str):
        msg = f"{shown(value)} is not a string"
        raise WrongValue(msg)
    try:
        encoded = os.fsencode(value)
    except UnicodeEncodeError:
        encoded = b"\0"
    if b"\0" in encoded:
        msg = f"{shown(value)} has a character that the kernel does not take"
        raise WrongValue(msg)
    return value


def _existing(value: object, base: str) -> str:
    """Return the real path of *value*: a bind mount on a link would follow it outside."""
    text = _text(os.fspath(value) if isinstance(value, os.PathLike) else value)
    if not text:
        msg = "an empty path"
        raise WrongValue(msg)
    path = Path(base, text)
    if not path.is_absolute():
        msg = f"{text!r} is relative, and nothing says to what; write an absolute path"
        raise WrongValue(msg)
    _check_answers(path)
    try:
        return os.path.realpath(path, strict=True)  # Path.resolve of 3.11: no OSError of a loop
    except OSError as error:
        msg = f"{path}: {error.strerror}"
        raise WrongValue(msg) from None


def _check_answers(path: Path) -> None:
    """Raise `WrongValue` if nobody who looks at *path* would come back."""
    if sys.platform == "linux":
        from pytest_isolate.sandbox.rootfs import careful  # noqa: PLC0415  # few runs have paths

        if why := careful.refusal(os.path.normpath(path)):
            msg = f"{path}: {why}"
            raise WrongValue(msg)
