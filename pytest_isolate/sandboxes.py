"""Which sandbox an item gets, made ready before it is needed: a session's side of the pool."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
import dataclasses
from dataclasses import dataclass
import os
import sys
import tempfile
from typing import TYPE_CHECKING
from typing import Final
from typing import final
import warnings

from pytest_isolate import _compat
from pytest_isolate import guests
from pytest_isolate.exceptions import PytestIsolateWarning
from pytest_isolate.options import controller
from pytest_isolate.options import policy_of
from pytest_isolate.resolution import Resolution
from pytest_isolate.resolution import Resolved
from pytest_isolate.resolution import Unavailable
from pytest_isolate.resolution import Unconfined
from pytest_isolate.resolution import resolve
from pytest_isolate.sandbox.errors import KeeperError
from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.settings import Recourse

if sys.platform == "linux":
    from pytest_isolate.sandbox.interpreter import interpreter_paths
    from pytest_isolate.sandbox.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Sequence

    import pytest

    from pytest_isolate.policy import Policy
    from pytest_isolate.sandbox.capabilities import Capabilities
    from pytest_isolate.sandbox.pool import Lease
    from pytest_isolate.sandbox.spec import Spec

_AHEAD: Final = 2  #: sandboxes made ready before they are needed


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPaths:
    """What of the host every sandbox of a session shows."""

    writable: tuple[str, ...]
    project: tuple[str, ...]
    imports: tuple[str, ...]
    scratch: tuple[str, ...]


def session_paths(config: pytest.Config, items: Sequence[pytest.Item]) -> SessionPaths:
    """Return the paths that pytest needs in a sandbox to run *items*."""
    places = [config.rootpath, config.invocation_params.dir, config.getoption("confcutdir", None)]
    places += [item.path.parent for item in items]
    project = dict.fromkeys(os.fspath(place) for place in places if place)
    return SessionPaths(
        writable=(*_compat.shared_directories(config, items), *guests.shared_directories(items)),
        project=tuple(path for path in project if not _is_below_another(path, project)),
        imports=tuple(interpreter_paths()),
        scratch=(tempfile.gettempdir(),),
    )


def _is_below_another(path: str, places: dict[str, None]) -> bool:
    while (parent := os.path.dirname(path)) != path:  # noqa: PTH120  # plain text
        if parent in places:
            return True
        path = parent
    return False


@final
class Sandboxes:
    """What one session has for its isolated items; the keeper is started when it is needed."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._pool: Pool | None = None
        self._paths: SessionPaths | None = None
        self._resolutions: dict[Policy, Resolution] = {}
        self._ordered: Counter[Spec] = Counter()
        self._items: Sequence[pytest.Item] = ()
        self._places: dict[pytest.Item, int] = {}

    @property
    def capabilities(self) -> Capabilities:
        """What this machine gives; waits for the keeper to say so. Raises KeeperError."""
        return self._start().capabilities

    def _start(self) -> Pool:
        if self._pool is None:
            self._pool = Pool.start(controller(self._config))
        return self._pool

    def close(self) -> None:
        """Let the keeper remove everything; if it could not, somebody should know."""
        error = self._forget_keeper()
        if error is not None:
            warnings.warn(PytestIsolateWarning(str(error)), stacklevel=2)

    def _forget_keeper(self) -> KeeperError | None:
        pool, self._pool = self._pool, None
        self._ordered.clear()
        if pool is not None:
            try:
                pool.close()
            except KeeperError as error:
                return error
        return None

    def expect(self, items: Sequence[pytest.Item]) -> None:
        """Make ready for *items*, all of the session in their order."""
        self._items = items
        self._places = {item: place for place, item in enumerate(items)}
        isolated = [item for item in items if policy_of(item) is not None]
        if isolated and sys.platform == "linux":
            self._paths = session_paths(self._config, isolated)
            self._order(isolated[:_AHEAD])

    def foresee(self, nextitem: pytest.Item | None) -> None:
        """Have sandboxes made for *nextitem* and what will probably follow it."""
        if nextitem is not None:
            place = self._places.get(nextitem, len(self._items))
            self._order([nextitem, *self._items[place + 1 : place + _AHEAD]])

    def _order(self, items: Sequence[pytest.Item]) -> None:
        wanted: Counter[Spec] = Counter()
        for item in items:
            policy = policy_of(item)
            resolution = None if policy is None else self.resolve(policy)
            if isinstance(resolution, Resolved):
                wanted[resolution.spec] += 1
        for spec in (wanted - self._ordered).elements():
            try:
                self._start().prepare(spec)
            except KeeperError:
                return  # the item that asks for it will be told
            self._ordered[spec] += 1

    def resolve(self, policy: Policy) -> Resolution:
        """Return the sandbox that *policy* is on this machine, or why it is not."""
        if policy in self._resolutions:
            return self._resolutions[policy]
        if sys.platform != "linux":
            return _not_linux(policy)
        try:
            resolution: Resolution = resolve(policy, self.capabilities)
        except KeeperError as error:
            self._forget_keeper()  # the next item gets a new one
            return Unavailable(SandboxError("start the keeper of the sandboxes", str(error)))
        self._resolutions[policy] = resolution = self._with_paths(resolution)
        return resolution

    def _with_paths(self, resolution: Resolution) -> Resolution:
        if not isinstance(resolution, Resolved):
            return resolution
        if self._paths is None:  # an item that was not collected
            self._paths = session_paths(self._config, ())
        spec = dataclasses.replace(
            resolution.spec,
            writable=(*resolution.spec.writable, *self._paths.writable),
            project=self._paths.project,
            imports=self._paths.imports,
            scratch=self._paths.scratch,
        )
        return dataclasses.replace(resolution, spec=spec)

    @contextmanager
    def lease(self, spec: Spec) -> Iterator[Lease]:
        """Lend a sandbox of *spec*. Raises SandboxError."""
        try:
            lease = self._start().lease(spec)
        except KeeperError as error:
            self._forget_keeper()  # the next item gets a new one
            msg = "get a sandbox"
            raise SandboxError(msg, str(error)) from None
        finally:
            self._ordered -= Counter((spec,))
        try:
            yield lease
        finally:
            lease.retire()


def _not_linux(policy: Policy) -> Resolution:
    error = SandboxError("isolate a test", f"needs Linux, and this is {sys.platform}")
    if policy.unavailable is Recourse.DEGRADE:
        return Unconfined((str(error),))
    return Unavailable(error)
