"""One sandbox while the keeper has it."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
import os
import time
from typing import TYPE_CHECKING
from typing import final

from pytest_isolate.sandbox.attached import Attached
from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.keeper import init
from pytest_isolate.sandbox.keeper.lifecycle import Life
from pytest_isolate.sandbox.keeper.lifecycle import Phase
from pytest_isolate.sandbox.linux import process_tree
from pytest_isolate.sandbox.linux import waits
from pytest_isolate.wire.codec import Decoder

if TYPE_CHECKING:
    from pytest_isolate.sandbox.cgroups import Group
    from pytest_isolate.sandbox.shortfalls import Shortfall
    from pytest_isolate.sandbox.spec import Spec


@final
@dataclass(slots=True, kw_only=True)
class Record:
    """Where the sandbox stands, and the descriptors that the keeper owns for it."""

    number: int
    spec: Spec
    report: int  #: read end of what its builder and init say, closed when that ends
    lifeline: int  #: write end, init goes when it is closed; -1 then
    life: Life = field(default_factory=Life)
    heard: Decoder = field(default_factory=Decoder)
    builder: int = 0  #: pid, 0 once reaped
    init: int = 0  #: pid, 0 until born
    pidfd: int = -1  #: init's, -1 until it is born and once it is dead
    group: Group | None = None
    error: SandboxError | None = None
    scratch: str = ""  #: a directory of the host's that goes with it, see `Sandbox.scratch`
    shortfalls: list[Shortfall] = field(default_factory=list)
    layers: dict[str, int] = field(default_factory=dict)  #: see `prepare_root.open_layers`
    inits_layers: dict[str, int] = field(default_factory=dict)  #: the same, as init has them
    overdue: float = field(default_factory=lambda: time.monotonic() + waits.MAKING)

    @property
    def is_trial(self) -> bool:
        """Whether the keeper made it for itself, to try what this machine gives."""
        return self.number <= 0

    @property
    def is_awaited(self) -> bool:
        """Whether its processes have still to say how it went."""
        return self.life.phase is Phase.MAKING and not self.life.made

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

    def attached(self) -> Attached:
        """Return the descriptors that the parent gets of it, without those of its layers."""
        if self.group is None:
            return Attached(init=self.pidfd)
        return Attached(
            init=self.pidfd,
            joins=self.group.join_fds,
            counters=self.group.counter_fds,
            notifier=self.group.notifier_fds,
        )

    def take_layers(self) -> None:
        """Open the directories that init has open, and let it close them. Raises OSError."""
        if not self.inits_layers:
            return
        for name, fd in self.inits_layers.items():
            path = f"/proc/{self.init}/fd/{fd}"
            self.layers[name] = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        os.write(self.lifeline, init.GO_ON)

    def close_layers(self) -> None:
        """Close the descriptors of its layers, when they are with who looks at them."""
        for fd in self.layers.values():
            os.close(fd)
        self.layers.clear()

    def cut_lifeline(self) -> None:
        """Let an init go that waits for the end."""
        if self.lifeline >= 0:
            os.close(self.lifeline)
            self.lifeline = -1
