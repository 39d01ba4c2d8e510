"""One sandbox while the keeper has it."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
import os
import time
from typing import TYPE_CHECKING
from typing import final

from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.keeper import init
from pytest_isolate.sandbox.linux import process_tree
from pytest_isolate.sandbox.linux import waits

if TYPE_CHECKING:
    from pytest_isolate.sandbox.cgroups import Group
    from pytest_isolate.sandbox.shortfalls import Shortfall
    from pytest_isolate.sandbox.spec import Spec


@final
@dataclass(slots=True)
class Record:
    """The sandbox's state, and the descriptors that the keeper owns for it."""

    number: int
    spec: Spec
    builder: int  #: pid, 0 once reaped
    report: int  #: read end, -1 once at its end
    life: int  #: write end, -1 once closed
    group: Group | None
    init: int = 0  #: pid, 0 until born
    pidfd: int = -1
    buffer: bytes = b""
    error: SandboxError | None = None
    scratch: str = ""  #: a directory of the host's that goes with it, see `Sandbox.scratch`
    shortfalls: list[Shortfall] = field(default_factory=list)
    layers: dict[str, int] = field(default_factory=dict)  #: see `prepare_root.open_layers`
    inits_layers: dict[str, int] = field(default_factory=dict)  #: the same, as init has them
    said_ready: bool = False
    handed_over: bool = False  #: the parent reads the counters, so they stay until it retires it
    dying: bool = False
    overdue: float = field(default_factory=lambda: time.monotonic() + waits.MAKING)

    @property
    def ready(self) -> bool:
        """Whether it can be entered: init's own word may come before the one of its birth."""
        return self.said_ready and self.pidfd >= 0

    @property
    def is_being_made(self) -> bool:
        """Whether its processes have still to say something."""
        return not (self.said_ready or self.error or self.dying)

    def lateness(self) -> SandboxError:
        """Return the error of a sandbox whose processes have not made it in time."""
        who = waits.describe(self.builder or self.init)
        return SandboxError("make sandbox", f"not made within {waits.MAKING:g} s by {who}")

    def last_words(self) -> str:
        """Return who in it is still there, of a sandbox that was killed."""
        pids = [self.builder] if self.builder else []
        if self.pidfd >= 0:
            pids = process_tree.namespace_of(self.pidfd) or [self.init]
        return ", ".join(waits.describe(pid) for pid in pids)

    def take_layers(self) -> None:
        """Open the directories that init has open, and let it close them. Raises OSError."""
        if not self.inits_layers:
            return
        for name, fd in self.inits_layers.items():
            path = f"/proc/{self.init}/fd/{fd}"
            self.layers[name] = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        os.write(self.life, init.GO_ON)

    def close_layers(self) -> None:
        """Close the descriptors of its layers, when they are with who looks at them."""
        for fd in self.layers.values():
            os.close(fd)
        self.layers.clear()
