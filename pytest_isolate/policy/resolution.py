"""Whether this machine can give what a policy asks for: the sandbox, or why there is none. Pure.

What was asked for is had in full or refused; a default that cannot be had is dropped and noted;
with `degrade` everything goes as far as it goes.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any
from typing import Final
from typing import TypeAlias

from pytest_isolate.policy.settings import BY_NAME
from pytest_isolate.policy.settings import Keep
from pytest_isolate.policy.settings import Leaks
from pytest_isolate.policy.settings import Recourse
from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.features import CONTROLLERS
from pytest_isolate.sandbox.features import NAMESPACES
from pytest_isolate.sandbox.spec import HostRoot
from pytest_isolate.sandbox.spec import Limits
from pytest_isolate.sandbox.spec import MinimalRoot
from pytest_isolate.sandbox.spec import Network
from pytest_isolate.sandbox.spec import Spec
from pytest_isolate.sandbox.spec import User

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_isolate.policy.model import Policy
    from pytest_isolate.sandbox.features import Capabilities


@dataclass(frozen=True, slots=True)
class Note:
    """What is not as the policy says, in the report header's words."""

    text: str
    setting: str = ""  #: whose value it is told instead of; "" is of the sandbox as a whole


@dataclass(frozen=True, slots=True)
class Resolved:
    """The sandbox can be had."""

    spec: Spec
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Unavailable:
    """What was asked for cannot be had: the test fails or is skipped, as its user chose."""

    error: SandboxError


Resolution: TypeAlias = Resolved | Unavailable


def resolve(policy: Policy, capabilities: Capabilities) -> Resolution:
    """Return the sandbox that *policy* is on a machine of these *capabilities*, or why it is not.

    What is to be seen of the host - `imports`, `project`, `scratch`, `own` - is left to the caller,
    who knows the interpreter and the session.
    """
    degrade = policy.unavailable is Recourse.DEGRADE
    missing = _missing_part(policy, capabilities)
    if missing and not degrade:
        return Unavailable(_error(f"a sandbox's {missing}", missing, capabilities))
    lost = _lost_wishes(policy, capabilities, partial=bool(missing))
    owed = [wish for wish in lost if not wish.best_effort or policy.asked(wish.setting)]
    if owed and not degrade:
        what = ", ".join(_quote(policy, wish.setting) for wish in owed)
        return Unavailable(_error(what, owed[0].capability, capabilities))
    fallbacks: dict[str, Any] = {wish.setting: wish.fallback for wish in lost}
    spec = _spec(dataclasses.replace(policy, **fallbacks))
    if "memory" in fallbacks and degrade:
        spec = dataclasses.replace(spec, watched=policy.memory)
    notes = tuple(Note(wish.note, wish.setting) for wish in lost)
    if missing:
        landlock = capabilities["landlock"].available
        spec = dataclasses.replace(spec, partial=True, landlock=landlock)
        notes = (*_partial(missing, capabilities), *notes)
    return Resolved(spec, notes)


def _partial(missing: str, capabilities: Capabilities) -> tuple[Note, ...]:
    """Return what a sandbox is that has to do without *missing*."""
    landlock = capabilities["landlock"]
    files = "files not protected (no landlock)"
    if landlock.available:
        files = f"Landlock ({landlock.how}{f', {landlock.lacks}' if landlock.lacks else ''})"
    return (Note(f"partial (no {missing})"), Note(files))


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


def _lost_wishes(policy: Policy, capabilities: Capabilities, *, partial: bool) -> tuple[Wish, ...]:
    """Return which of *policy*'s wishes this machine cannot grant."""

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


def _missing_part(policy: Policy, capabilities: Capabilities) -> str:
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
    return SandboxError(what, reason.why, reason.fix, code=reason.code)
