"""One sandbox's groups over all hierarchies, and the run that they belong to."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from typing import final

from pytest_isolate.sandbox.cgroups import cgroupfs
from pytest_isolate.sandbox.cgroups import refusals
from pytest_isolate.sandbox.cgroups import shown
from pytest_isolate.sandbox.cgroups.backend import wanted
from pytest_isolate.sandbox.cgroups.oom_terms import DIRECTORY
from pytest_isolate.sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Sequence

    from pytest_isolate.sandbox.cgroups.backend import Backend
    from pytest_isolate.sandbox.cgroups.shown import Shown
    from pytest_isolate.sandbox.features import Capability
    from pytest_isolate.sandbox.spec import Limits


@final
class Group:
    """One sandbox's groups: a directory in each hierarchy that caps something of it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._parts: list[tuple[Backend, str]] = []
        self._join_fds: list[int] = []
        self._counter_fds: dict[str, int] = {}
        self._notifier_fds: dict[str, int] = {}

    @property
    def join_fds(self) -> tuple[int, ...]:
        """Descriptors to write `b"0"` to, all of them: the writing process joins then."""
        return tuple(self._join_fds)

    @property
    def counter_fds(self) -> Mapping[str, int]:
        """Descriptors for `read_evidence`, by a label like `v1.memory.oom_control`."""
        return self._counter_fds

    @property
    def notifier_fds(self) -> Mapping[str, int]:
        """Descriptors for `oom_notifier.notifier_of`, by label; none before `arm`."""
        return self._notifier_fds

    @property
    def paths(self) -> tuple[str, ...]:
        """The directories, one for each of `join_fds`."""
        return tuple(path for _, path in self._parts)

    @property
    def places(self) -> Mapping[str, str]:
        """The directories by hierarchy, see `Place`, as far as a path leads there."""
        return {
            backend.place.hierarchy: path
            for backend, path in self._parts
            # A mount of our own that is not in this namespace, see `private_mount`.
            if not path.startswith("/proc/")
        }

    def add(self, backend: Backend, limits: Limits) -> None:
        """Make and limit the group in one hierarchy; raise `OSError` if that fails."""
        path = f"{backend.path}/{self.name}"
        try:
            os.mkdir(path)
        except OSError as error:
            raise OSError(error.errno, f"mkdir: {error.strerror}", path) from None
        self._parts.append((backend, path))
        caps = wanted(limits)
        for controller in backend.controllers:
            if controller in caps:
                backend.cap(path, controller, limits)
        self._open(backend, path, ("", *caps))

    def _open(self, backend: Backend, path: str, controllers: Sequence[str]) -> None:
        flags = os.O_WRONLY | os.O_CLOEXEC
        self._join_fds.append(os.open(f"{path}/{backend.gate}", flags))
        for controller in controllers:
            for name in backend.counters.get(controller, ()):
                try:
                    fd = os.open(f"{path}/{name}", os.O_RDONLY | os.O_CLOEXEC)
                except FileNotFoundError:
                    # This kernel does not count it, or the controller is in another hierarchy.
                    continue
                self._counter_fds[f"{backend.place.version}.{name}"] = fd

    def arm(self, cap: int) -> None:
        """Have the group ring when its memory reaches *cap*: somebody has to listen then."""
        for backend, path in self._parts:
            if "memory" in backend.controllers:
                fds = backend.arm(path, cap)
                if fds:
                    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
                    fds[DIRECTORY] = os.open(path, flags)
                version = backend.place.version
                self._notifier_fds |= {f"{version}.{name}": fd for name, fd in fds.items()}

    def close_fds(self) -> None:
        """Close the descriptors, as soon as they were sent to where they are used."""
        for fd in (*self._join_fds, *self._counter_fds.values(), *self._notifier_fds.values()):
            os.close(fd)
        self._join_fds.clear()
        self._counter_fds.clear()
        self._notifier_fds.clear()

    def kill(self) -> None:
        """Kill every process in the groups, as far as that is possible."""
        # Where processes are counted they can be kept from forking: that comes first.
        for backend, path in sorted(
            self._parts, key=lambda part: "pids" not in part[0].controllers
        ):
            try:
                backend.kill(path)
            except FileNotFoundError:
                continue

    def remove(self) -> None:
        """Remove the groups, and close what is open of them; raise `SandboxError` if one stays.

        Processes that were killed leave some time after their death, so this waits for them.
        """
        self.close_fds()
        failure: OSError | None = None
        while self._parts:
            _, path = self._parts.pop()
            try:
                cgroupfs.remove(path)
            except OSError as error:
                failure = error
        if failure is not None:
            raise SandboxError.from_os_error(failure)


@final
class Cgroups:
    """The groups of one run. Whoever opened them must close them.

    A forked child inherits the locks on the run directories. While one lives, nobody sweeps them,
    so a child that outlives this process must close `lock_fds`.
    """

    def __init__(self, backends: Sequence[Backend], capabilities: tuple[Capability, ...]) -> None:
        self._backends = backends
        self.capabilities = capabilities
        self._looked_for = shown.looked_for(backends)

    @property
    def paths(self) -> tuple[str, ...]:
        """The run directories, one in each hierarchy that is used."""
        return tuple(backend.path for backend in self._backends)

    @property
    def lock_fds(self) -> tuple[int, ...]:
        """The descriptors that lock the run directories."""
        return tuple(backend.lock_fd for backend in self._backends)

    def create(self, name: str, limits: Limits) -> Group:
        """Return a new group with *limits*; raise `SandboxError` if one cannot be enforced."""
        caps = wanted(limits)
        for capability in self.capabilities:
            if capability.name in caps and not capability.available:
                raise refusals.unavailable(capability)
        group = Group(name)
        try:
            for backend in self._backends:
                if not caps.keys().isdisjoint(backend.controllers):
                    group.add(backend, limits)
        except OSError as error:
            group.remove()
            raise SandboxError.from_os_error(error) from error
        return group

    def shown(self, group: Group) -> Shown:
        """Return what is to be seen of control groups in the sandbox of *group*."""
        return shown.to_show(group.places, self._looked_for)

    def close(self) -> None:
        """Remove what is left of the run, and put back what was changed for it.

        Everything is tried; what then failed first is raised as `SandboxError`.
        """
        failure: OSError | None = None
        for backend in self._backends:
            try:
                backend.close()
            except OSError as error:
                failure = failure or error
        self._backends = ()
        if failure is not None:
            raise SandboxError.from_os_error(failure)
