"""The base temporary directory: each sandbox has one of its own.

What `tmp_path` and numbered `mktemp` make in it stays where the user looks for it, see
`sandbox.own`; the rest is the test's alone, as all it writes is. What pytest's own process has
there, for tests that are not isolated, is seen by the others.
"""

from __future__ import annotations

from contextlib import suppress
import os
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Final
from typing import final

import pytest

from pytest_isolate._compat import tmpdir
from pytest_isolate.sandbox import own
from pytest_isolate.sandbox.own import Made
from pytest_isolate.wire.real_os import RealOS

if TYPE_CHECKING:
    from collections.abc import Callable

_base_key = pytest.StashKey["Base"]()
_notes_key = pytest.StashKey["_Notes"]()
#: What pytest keeps there to tell that the directory is in use.
_LOCK: Final = ".lock"


@final
class Base:
    """The directory at *path*, as pytest's process has it, and what of it is with a sandbox.

    A plugin: before pytest removes the directory, *end* has to end the sandboxes that use it.
    """

    def __init__(self, config: pytest.Config, path: str, end: Callable[[], None]) -> None:
        self.path: Final = path
        self.register = -1  #: descriptor of what the current test writes to, see `begin`
        self._config = config
        self._end_sandboxes = end
        self._store = ""
        self._sweeps = False
        self._position = 0
        self._made: list[Made] = []
        self._known = {_LOCK, own.STORES}  #: names that no other than isolated tests asked for
        self._looked = -1  #: the directory's time of change when it was last looked at
        self._has_others = False
        config.stash[_base_key] = self
        config.pluginmanager.register(self)

    def pytest_runtest_setup(self) -> None:
        """Look again: a test that is not isolated may make anything there."""
        self._looked = -1

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Let no sandbox use the directory when pytest may remove it."""
        self._end_sandboxes()

    def has_others(self) -> bool:
        """Return whether there is anything in it that isolated tests did not make."""
        if not self._has_others:
            with suppress(OSError):
                changed = Path(self.path).stat().st_mtime_ns
                if changed != self._looked:
                    self._has_others = bool(self._others())
                    self._looked = changed
        return self._has_others

    def _others(self) -> set[str]:
        with os.scandir(self.path) as entries:
            return {entry.name for entry in entries} - self._known

    def begin(self, store: str, *, sweeps: bool) -> None:
        """Be ready for a test whose sandbox has *store*, or "" if it has the directory itself.

        *sweeps* says that what it leaves there is to be removed, and not by who ends the sandbox.
        """
        self._store, self._sweeps = store, sweeps and not self.has_others()
        self._position = 0
        with suppress(OSError):  # the keeper is gone, and the test will hear of it
            self.register = (
                own.open_register(store)
                if store
                else os.memfd_create("isolate-directories", os.MFD_CLOEXEC)
            )

    def look(self) -> None:
        """Take note of the directories that the test has made; they are to be found from now on."""
        if self.register < 0:
            return
        made, self._position = own.read_register(self.register, self._position)
        for one in made:
            tmpdir.skip_directory_number(self._config, one.prefix, one.number)
            self._known |= {one.name, one.link}
        self._made += made
        if self._store:
            own.show(self._store, self.path, made)

    def end(self) -> None:
        """Put what has to stay where it belongs."""
        if self.register < 0:
            return
        self.look()
        if self._store:
            own.settle(self._store, self.path, self._made)
        if self._sweeps:
            with suppress(OSError):
                for name in self._others():
                    own.clear(f"{self.path}/{name}")
        RealOS.close(self.register)
        self.register = -1
        self._made.clear()
        with suppress(OSError):
            if not self._has_others and self._looked >= 0:
                self._looked = Path(self.path).stat().st_mtime_ns


def look(config: pytest.Config) -> None:
    """Look at what the current test has made, as it asks for."""
    base = config.stash.get(_base_key, None)
    if base is not None:
        base.look()


class _Notes:
    """What a test process says of its directories; any thread and process of it may."""

    def __init__(self, register: int) -> None:
        self._register = register
        self._identity = _identity(register)
        self.is_new = False  #: whether there is anything that the parent was not told of

    def add(self, prefix: str, number: int) -> None:
        """Note that a directory is to stay."""
        # The test may have closed the descriptor, and its number may be another file's by now.
        with suppress(OSError):
            if _identity(self._register) == self._identity:
                RealOS.write(self._register, Made(prefix, number).entry())
                self.is_new = True


def _identity(fd: int) -> tuple[int, int]:
    status = RealOS.fstat(fd)
    return status.st_dev, status.st_ino


def note_directories(config: pytest.Config, register: int) -> None:
    """Write down in *register* which directories the test of this process makes, if it is one."""
    if register >= 0:
        config.stash[_notes_key] = notes = _Notes(register)
        tmpdir.note_directories(config, notes.add)


def has_news(config: pytest.Config) -> bool:
    """Return whether this process has noted anything since the last time."""
    notes = config.stash.get(_notes_key, None)
    if notes is None or not notes.is_new:
        return False
    notes.is_new = False
    return True
