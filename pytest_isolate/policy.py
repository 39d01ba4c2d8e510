"""What one test is to run under, who asked for it, and whether this machine can give it. Pure.

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
from typing import TypeAlias

from pytest_isolate import values
from pytest_isolate.sandbox.capabilities import CONTROLLERS
from pytest_isolate.sandbox.capabilities import NAMESPACES
from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.spec import HostRoot
from pytest_isolate.sandbox.spec import Limits
from pytest_isolate.sandbox.spec import MinimalRoot
from pytest_isolate.sandbox.spec import Network
from pytest_isolate.sandbox.spec import Root
from pytest_isolate.sandbox.spec import Spec
from pytest_isolate.sandbox.spec import User
from pytest_isolate.settings import BY_NAME
from pytest_isolate.settings import SETTINGS
from pytest_isolate.settings import Keep
from pytest_isolate.settings import Leaks
from pytest_isolate.settings import Recourse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Mapping

    from pytest_isolate.sandbox.capabilities import Capabilities
    from pytest_isolate.settings import Setting

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
        text = values.shown(value)
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
            except values.WrongValue as error:
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
        raise values.WrongValue(reason)
    if origin.source is Source.MARKER and not setting.marker:
        msg = f"not for a marker; write {setting.tell()}"
        raise values.WrongValue(msg)
    return setting


@dataclass(frozen=True, slots=True)
class Resolved:
    """The sandbox can be had."""

    spec: Spec
    notes: tuple[str, ...] = ()  #: what it lacks, in the report header's words


@dataclass(frozen=True, slots=True)
class Unconfined:
    """No system for sandboxes, and the user takes the test without one (`degrade`)."""

    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unavailable:
    """What was asked for cannot be had: the test fails or is skipped, as its user chose."""

    error: SandboxError


Resolution: TypeAlias = Resolved | Unconfined | Unavailable


def resolve(policy: Policy, capabilities: Capabilities) -> Resolved | Unavailable:
    """Return the sandbox that *policy* is on a machine of these *capabilities*, or why it is not.

    The specification's `imports` and `project` are left to the caller, who knows the interpreter.
    """
    degrade = policy.unavailable is Recourse.DEGRADE
    missing = missing_part(policy, capabilities)
    if missing and not degrade:
        return Unavailable(_error(f"a sandbox's {missing}", missing, capabilities))
    lost = lost_wishes(policy, capabilities)
    owed = [wish for wish in lost if not wish.best_effort or policy.asked(wish.setting)]
    if owed and not degrade:
        what = ", ".join(_quote(policy, wish.setting) for wish in owed)
        return Unavailable(_error(what, owed[0].capability, capabilities))
    fallbacks: dict[str, Any] = {wish.setting: wish.fallback for wish in lost}
    spec = _spec(dataclasses.replace(policy, **fallbacks))
    if "memory" in fallbacks and degrade:
        spec = dataclasses.replace(spec, watched=policy.memory)
    notes = tuple(wish.note for wish in lost)
    if missing:
        landlock = capabilities["landlock"].available
        spec = dataclasses.replace(spec, partial=True, landlock=landlock)
        notes = (*partial_facts(missing, capabilities), *notes)
    return Resolved(spec, notes)


def partial_facts(missing: str, capabilities: Capabilities) -> tuple[str, ...]:
    """Return what a sandbox is that has to do without *missing*, in the header's words."""
    landlock = capabilities["landlock"]
    if not landlock.available:
        return (f"partial (no {missing})", "files not protected (no landlock)")
    lacks = f", {landlock.lacks}" if landlock.lacks else ""
    return (f"partial (no {missing})", f"Landlock ({landlock.how}{lacks})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A setting that takes a capability, and that a sandbox can be made without."""

    setting: str
    capability: str
    fallback: object  #: the value that needs nothing
    note: str  #: how the report header names the loss
    best_effort: bool = True  #: whether a default may be lost


def _cap(setting: str, controller: str) -> Wish:
    return Wish(
        setting=setting,
        capability=controller,
        fallback=None,
        note=f"{setting} cap none (no writable {controller} cgroup)",
    )


WISHES: Final = (
    Wish(
        setting="network",
        capability="net",
        fallback=Network.HOST,
        note="network host (no net)",
        # Sharing the machine's ports and addresses is nothing that a default may come down to.
        best_effort=False,
    ),
    Wish(
        setting="hostname",
        capability="hostname",
        fallback=None,
        note="hostname kept (no hostname)",
    ),
    Wish(setting="rootfs", capability="mnt", fallback=HostRoot(), note="rootfs host (no mnt)"),
    Wish(
        setting="report_leaks",
        capability="mnt",
        fallback=Leaks.OFF,
        note="report_leaks off (no mnt)",
    ),
    Wish(setting="keep", capability="mnt", fallback=Keep.NONE, note="keep none (no mnt)"),
    Wish(setting="user", capability="userns", fallback=User.KEEP, note="user keep (no userns)"),
    _cap("memory", "memory"),
    _cap("pids", "pids"),
    _cap("cpus", "cpu"),
)
#: Landlock knows of TCP alone.
_NO_TCP: Final = Wish(
    setting="network", capability="net", fallback=Network.NONE, note="network none (TCP alone)"
)


def lost_wishes(policy: Policy, capabilities: Capabilities) -> tuple[Wish, ...]:
    """Return which of *policy*'s wishes this machine cannot grant."""
    partial = bool(missing_part(policy, capabilities))

    def is_lost(wish: Wish) -> bool:
        # Without one part of every sandbox there are none of its namespaces.
        granted = capabilities[wish.capability].available and not (partial and wish in _OF_WHOLE)
        return not granted and getattr(policy, wish.setting) != wish.fallback

    lost = tuple(_watched(wish, policy) for wish in WISHES if is_lost(wish))
    landlock = capabilities["landlock"]
    knows_tcp = landlock.available and "TCP" not in landlock.lacks
    if partial and policy.network is Network.NONE and knows_tcp:
        return (_NO_TCP, *(wish for wish in lost if wish.setting != "network"))
    return lost


def _watched(wish: Wish, policy: Policy) -> Wish:
    """Return *wish*, or where it is the memory cap, the words for one that is kept by looking."""
    if wish.setting != "memory" or policy.unavailable is not Recourse.DEGRADE:
        return wish
    cap = BY_NAME["memory"].show(policy.memory)
    note = f"memory cap: watched, {cap} (no writable memory cgroup)"
    return dataclasses.replace(wish, note=note)


#: What takes a sandbox in full.
_OF_WHOLE: Final = tuple(wish for wish in WISHES if wish.capability not in CONTROLLERS)


def missing_part(policy: Policy, capabilities: Capabilities) -> str:
    """Return the part of every sandbox that is the reason why there is none here, or ""."""
    missing = [name for name in _parts(policy) if not capabilities[name].available]
    # What the kernel refused comes before what was not tried because of it.
    return min(missing, key=lambda name: not capabilities[name].code, default="")


def _parts(policy: Policy) -> Iterator[str]:
    """Yield the capabilities without which there is no sandbox, in the order of probing."""
    yield from (name for name in NAMESPACES if name != "net")
    if not isinstance(policy.rootfs, MinimalRoot):
        yield "overlay"
    yield "proc"
    yield "pivot_root"


def _spec(policy: Policy) -> Spec:
    return Spec(
        hostname=policy.hostname,
        network=policy.network,
        user=policy.user,
        root=policy.rootfs,
        limits=Limits(memory=policy.memory, pids=policy.pids, cpus=policy.cpus),
        writable=policy.writable,
        surveyed=policy.report_leaks is not Leaks.OFF or policy.keep is not Keep.NONE,
    )


def _quote(policy: Policy, name: str) -> str:
    text = BY_NAME[name].show(getattr(policy, name))
    return f"{name} {text} ({policy.origin(name).name(name)})"


def _error(what: str, capability: str, capabilities: Capabilities) -> SandboxError:
    reason = capabilities[capability]
    return SandboxError(what, reason.why, reason.mend, code=reason.code)
