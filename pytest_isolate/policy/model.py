"""What one test is to run under, and who asked for it. Pure.

A `Policy` is folded together from the weakest source to the strongest, each overriding what it
names: default, ini, command line, markers from module to function, hook. Every value remembers
its source, for what was asked for is had in full, and what nobody asked for as far as it goes.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from dataclasses import field
import difflib
import enum
from typing import TYPE_CHECKING
from typing import Any
from typing import Final

from pytest_isolate.policy import parsers
from pytest_isolate.policy.settings import BY_NAME
from pytest_isolate.policy.settings import SETTINGS
from pytest_isolate.policy.settings import Keep
from pytest_isolate.policy.settings import Leaks
from pytest_isolate.policy.settings import Recourse
from pytest_isolate.sandbox.spec import HostRoot
from pytest_isolate.sandbox.spec import Network
from pytest_isolate.sandbox.spec import Root
from pytest_isolate.sandbox.spec import User

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_isolate.policy.settings import Setting

#: Variables that `pass_env` always keeps: without them hardly any test runs.
ALWAYS_PASSED: Final = (
    "PATH",
    "HOME",
    "TMPDIR",
    "TERM",
    "TZ",
    "LANG",
    "LC_*",
    "VIRTUAL_ENV",
    "PYTHON*",
    "PYTEST_*",
    "COV_*",
    "COVERAGE_*",
)
#: Arguments of another plugin's marker of the same name.
_FOREIGN: Final = {"group": "pytest-isolated", "serial": "pytest-isolated"}


class Source(enum.StrEnum):
    """Who said a value, from the weakest to the strongest."""

    DEFAULT = "default"
    INI = "ini"
    COMMAND_LINE = "command line"
    RUN = "python -m pytest_isolate run"
    MARKER = "marker"
    HOOK = "hook"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from."""

    source: Source = Source.DEFAULT
    place: str = ""  #: a marker's node id

    def name(self, setting: str) -> str:
        """Return how *setting* is called there, for a reader to find it."""
        match self.source:
            case Source.DEFAULT:
                return "default"
            case Source.INI:
                return f"ini {BY_NAME[setting].ini}"
            case Source.COMMAND_LINE:
                return BY_NAME[setting].flag
            case Source.RUN:
                return f"--{setting.replace('_', '-')}"
            case Source.MARKER:
                return f"{self.place}: @pytest.mark.isolated"
            case Source.HOOK:
                return "pytest_isolate_policy"

    def quote(self, setting: str, value: object) -> str:
        """Return *setting* as it was written there."""
        text = parsers.shown(value)
        if self.source in {Source.MARKER, Source.HOOK}:
            return f"{self.name(setting)}({setting}={text})"
        return f"{self.name(setting)}={text}"


class PolicyError(ValueError):
    """A wrong value: one line that names the place, the argument, the value and what is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What one test runs under: values checked, paths absolute. Hashable."""

    enabled: bool = False  #: whether the test is isolated at all
    memory: int | None = 1024**3  #: bytes
    timeout: float | None = None  #: seconds
    pids: int | None = 1024
    cpus: float | None = None
    network: Network = Network.LOOPBACK
    rootfs: Root = field(default_factory=HostRoot)
    hostname: str | None = "isolated"  #: `None`, which nobody can ask for, leaves the host's
    env: tuple[tuple[str, str], ...] = ()
    pass_env: tuple[str, ...] | None = None  #: `None` keeps everything
    writable: tuple[str, ...] = ()
    user: User = User.KEEP
    unavailable: Recourse = Recourse.FAIL
    report_leaks: Leaks = Leaks.OFF
    keep: Keep = Keep.NONE
    keep_dir: str | None = None
    top: int | None = None  #: how many of the hungriest tests are shown, 0 for all
    origins: tuple[tuple[str, Origin], ...] = ()  #: of what was asked for, by name

    @property
    def kept(self) -> tuple[str, ...] | None:
        """The patterns of variables that the test keeps; `None` keeps everything."""
        return None if self.pass_env is None else (*ALWAYS_PASSED, *self.pass_env)

    def origin(self, name: str) -> Origin:
        """Return who said the value called *name*."""
        return dict(self.origins).get(name, Origin())

    def asked(self, name: str) -> bool:
        """Return whether anyone asked for the value called *name*."""
        return self.origin(name).source is not Source.DEFAULT

    def replace(self, **written: object) -> Policy:
        """Return this policy with other values, in the words of the marker, as a hook asks for.

        Paths must be absolute. Raises PolicyError.
        """
        return self.override(Origin(Source.HOOK), written)

    def override(self, origin: Origin, written: Mapping[str, object], base: str = "") -> Policy:
        """Return this policy with what was *written* at *origin* in place of its own.

        Relative paths start at *base*; without it they are wrong. Raises PolicyError.
        """
        changes: dict[str, Any] = {}
        for name, value in written.items():
            try:
                changes[name] = _setting(name, origin).parse(value, base)
            except parsers.WrongValue as error:
                msg = f"{origin.quote(name, value)}: {error}"
                raise PolicyError(msg) from None
        origins = dict(self.origins) | dict.fromkeys(changes, origin)
        return dataclasses.replace(self, **changes, origins=tuple(sorted(origins.items())))


def _setting(name: str, origin: Origin) -> Setting:
    """Return the setting that *origin* calls *name*."""
    setting = BY_NAME.get(name)
    if setting is None:
        known = [s.name for s in SETTINGS if s.marker or origin.source is not Source.MARKER]
        near = difflib.get_close_matches(name, known, n=1)
        if name in _FOREIGN:
            reason = f"an argument of {_FOREIGN[name]}, another plugin"
        elif near:
            reason = f"unknown argument; did you mean {near[0]}?"
        else:
            reason = f"unknown argument; known are {', '.join(known)}"
        raise parsers.WrongValue(reason)
    if origin.source is Source.MARKER and not setting.marker:
        msg = f"not for a marker; write {setting.tell()}"
        raise parsers.WrongValue(msg)
    return setting
