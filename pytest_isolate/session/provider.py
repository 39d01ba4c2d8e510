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

from pytest_isolate._compat import tmpdir
from pytest_isolate.integrations import directories
from pytest_isolate.integrations import registry
from pytest_isolate.options import controller
from pytest_isolate.options import policy_of
from pytest_isolate.policy.resolution import Resolution
from pytest_isolate.policy.resolution import Resolved
from pytest_isolate.policy.resolution import Unavailable
from pytest_isolate.policy.resolution import resolve
from pytest_isolate.sandbox.errors import KeeperError
from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.transfer.base_directory import Base
from pytest_isolate.warning_types import PytestIsolateWarning

if sys.platform == "linux":
    from pytest_isolate.sandbox.pool import Pool
    from pytest_isolate.sandbox.rootfs.interpreter import interpreter_paths

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Sequence

    import pytest

    from pytest_isolate.policy.model import Policy
    from pytest_isolate.sandbox.features import Capabilities
    from pytest_isolate.sandbox.handle import Sandbox
    from pytest_isolate.sandbox.shortfalls import Shortfall
    from pytest_isolate.sandbox.spec import Spec

_AHEAD: Final = 2  #: sandboxes made ready before they are needed


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPaths:
    """What of the host every sandbox of a session shows."""

    base: str  #: the base temporary directory, or ""
    writable: tuple[str, ...]
    project: tuple[str, ...]
    imports: tuple[str, ...]
    scratch: tuple[str, ...]


def session_paths(config: pytest.Config, items: Sequence[pytest.Item]) -> SessionPaths:
    """Return the paths that pytest needs in a sandbox to run *items*."""
    places = [config.rootpath, config.invocation_params.dir, config.getoption("confcutdir", None)]
    places += [item.path.parent for item in items]
    places += directories.of_suite(config, items)
    project = dict.fromkeys(os.fspath(place) for place in places if place)
    return SessionPaths(
        base=tmpdir.base_directory(config, items),
        writable=(
            *tmpdir.shared_directories(config),
            *registry.shared_directories(config, items),
        ),
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


def _is_below_any(path: str, places: Sequence[str]) -> bool:
    return any(path == place or path.startswith(f"{place.rstrip('/')}/") for place in places)


@final
class SandboxProvider:
    """What one session has for its isolated items; the keeper is started when it is needed."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._pool: Pool | None = None
        self._paths: SessionPaths | None = None
        self._base: Base | None = None
        self._error: KeeperError | None = None
        self._resolutions: dict[Policy, Resolution] = {}
        self._completed: dict[Spec, Spec] = {}
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
        error = self._forget_keeper() or self._error
        if error is not None:
            warnings.warn(PytestIsolateWarning(str(error)), stacklevel=2)

    def _end(self) -> None:
        """Let the keeper remove everything; if it could not, `close` will say so."""
        self._error = self._forget_keeper()

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
            self._completed.clear()
            if self._paths.base:
                self._base = Base(self._config, self._paths.base, self._end)
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
                wanted[self._complete(resolution.spec)] += 1
        for spec in (wanted - self._ordered).elements():
            try:
                self._start().prepare(spec)
            except KeeperError:
                return  # the item that asks for it will be told
            self._ordered[spec] += 1

    def resolve(self, policy: Policy) -> Resolution:
        """Return the sandbox that *policy* is on this machine, or why it is not.

        What its sandbox shows of the host is added when it is asked for.
        """
        if policy in self._resolutions:
            return self._resolutions[policy]
        if sys.platform != "linux":
            what, why = "isolate a test", f"needs Linux, and this is {sys.platform}"
            return Unavailable(SandboxError(what, why))
        try:
            resolution = resolve(policy, self.capabilities)
        except KeeperError as error:
            self._forget_keeper()  # the next item gets a new one
            return Unavailable(SandboxError("start the keeper of the sandboxes", str(error)))
        self._resolutions[policy] = resolution
        return resolution

    def _complete(self, spec: Spec) -> Spec:
        """Return *spec* with what its sandbox is to show of the host, by now."""
        if spec not in self._completed:
            self._completed[spec] = self._with_paths(spec)
        spec = self._completed[spec]
        if spec.own and self._base is not None and self._base.has_others():
            return dataclasses.replace(spec, own_over=True)
        return spec

    def _with_paths(self, spec: Spec) -> Spec:
        host, base = self._host(), self._base_for(spec)
        shared = (base,) if base and spec.partial else ()
        return dataclasses.replace(
            spec,
            own="" if spec.partial else base,
            writable=(*spec.writable, *shared, *host.writable),
            project=host.project,
            imports=host.imports,
            scratch=host.scratch,
        )

    def _base_for(self, spec: Spec) -> str:
        """Return the base temporary directory, or "" where *spec* writes through to it."""
        base = self._host().base
        return "" if _is_below_any(base, spec.writable) else base

    def _host(self) -> SessionPaths:
        if self._paths is None:  # an item that was not collected
            self._paths = session_paths(self._config, ())
        return self._paths

    def shortfalls(self, spec: Spec) -> tuple[Shortfall, ...]:
        """Return what of a sandbox of *spec*, one made ahead, could not be had in full.

        Waits for it. Raises KeeperError.
        """
        return self._start().shortfalls(self._complete(spec))

    @property
    def directories(self) -> int:
        """A descriptor for the current test's notes on its directories, or -1."""
        return -1 if self._base is None else self._base.register

    @contextmanager
    def acquire(self, spec: Spec) -> Iterator[Sandbox]:
        """Lend a sandbox of *spec*. Raises SandboxError."""
        sweeps = spec.partial and bool(self._base_for(spec))
        spec = self._complete(spec)
        try:
            sandbox = self._start().acquire(spec)
        except KeeperError as error:
            self._forget_keeper()  # the next item gets a new one
            msg = "get a sandbox"
            raise SandboxError(msg, str(error)) from None
        finally:
            self._ordered -= Counter((spec,))
        if self._base is not None:
            store = sandbox.scratch if spec.own else ""
            self._base.begin(store, sweeps=sweeps)
        try:
            yield sandbox
        finally:
            if self._base is not None:
                self._base.end()
            sandbox.retire()
