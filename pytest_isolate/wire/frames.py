"""The frames: everything that ever crosses between two of our processes.

Frozen dataclasses of JSON values only, so that decoding cannot run code (no pickle, ever: a test
may be hostile). Three conversations use them: the test process speaks to the parent, one way over
a pipe; the parent and the keeper speak both ways over a socket, descriptors attached; and who makes
a sandbox, its builder and its init, speaks to the keeper, one way over a pipe.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import Final
from typing import TypeAlias

Json: TypeAlias = dict[str, Any]

# --- from the test process to the parent ---


@dataclass(frozen=True, slots=True)
class Confined:
    """The process is inside its sandbox; the test's own code has not run yet."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The process could not enter its sandbox; *error* is a `SandboxError` as JSON."""

    error: Json


@dataclass(frozen=True, slots=True)
class Phase:
    """A phase of a test begins: setup, call or teardown."""

    nodeid: str
    when: str


@dataclass(frozen=True, slots=True)
class Report:
    """A report, as `pytest_report_to_serializable` made it."""

    data: Json


@dataclass(frozen=True, slots=True)
class Warned:
    """A warning was recorded: `pytest_warning_recorded` and its arguments."""

    warning: Json
    when: str
    nodeid: str
    location: list[Any] | None


@dataclass(frozen=True, slots=True)
class Stop:
    """The test asks the session to end.

    *kind* is `exit` (pytest.exit), `interrupt` (KeyboardInterrupt), `shouldstop` or `shouldfail`.
    """

    kind: str
    reason: str
    returncode: int | None


@dataclass(frozen=True, slots=True)
class Event:
    """Something else that the parent's side of a plugin must hear of, by name."""

    name: str
    data: Json


@dataclass(frozen=True, slots=True)
class Bye:
    """The process has said everything; what comes after it is an error."""


# --- from the parent to the keeper ---


@dataclass(frozen=True, slots=True)
class Prepare:
    """Make a sandbox of *spec* (a `Spec` as JSON) and call it *sandbox*."""

    sandbox: int
    spec: Json


@dataclass(frozen=True, slots=True)
class Retire:
    """Kill what is left in *sandbox* and remove it."""

    sandbox: int


# --- from the keeper to the parent ---


@dataclass(frozen=True, slots=True)
class Hello:
    """The keeper is ready; *capabilities* is what it found on this machine, as JSON."""

    capabilities: list[Json]


@dataclass(frozen=True, slots=True)
class Ready:
    """*sandbox* waits to be entered.

    *names* says what each attached descriptor is, see `sandbox.attached`, *shortfalls* what of the
    plan could not be had in full, each a `Shortfall` as JSON, *scratch* the directory of a sandbox
    without a root of its own. *layers* says where what is written goes, if that may be asked:
    `overlaid`, the paths inside and the lower directories of the overlays in the order of their
    upper layers, and `planned`, the paths that the sandbox was made with.
    """

    sandbox: int
    names: list[str]
    shortfalls: list[Json]
    scratch: str = ""
    layers: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unready:
    """*sandbox* could not be made; *error* is a `SandboxError` as JSON."""

    sandbox: int
    error: Json


# --- from a sandbox's builder and its init to the keeper ---


@dataclass(frozen=True, slots=True)
class Born:
    """Init lives; *pid* is its number in the keeper's PID namespace."""

    pid: int


@dataclass(frozen=True, slots=True)
class Made:
    """The sandbox is complete, but for its *shortfalls*, each as JSON.

    *layers* are descriptors that init has open, by name, see `prepare_root.open_layers`.
    """

    shortfalls: list[Json]
    layers: Json


@dataclass(frozen=True, slots=True)
class Failed:
    """The sandbox cannot be had; *error* is a `SandboxError` as JSON."""

    error: Json


TestFrame: TypeAlias = Confined | Refused | Phase | Report | Warned | Stop | Event | Bye
ParentFrame: TypeAlias = Prepare | Retire
KeeperFrame: TypeAlias = Hello | Ready | Unready
BuilderFrame: TypeAlias = Born | Made | Failed
Frame: TypeAlias = TestFrame | ParentFrame | KeeperFrame | BuilderFrame

#: The number of descriptors that may come with one frame (SCM_MAX_FD is 253).
MAX_DESCRIPTORS: Final = 64
