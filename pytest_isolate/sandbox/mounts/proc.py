"""The sandbox's /proc, or what comes nearest to it; and what in it is out of reach."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from typing import Final
from typing import final

from pytest_isolate.sandbox.features import Part
from pytest_isolate.sandbox.linux import libc
from pytest_isolate.sandbox.mounts import attach
from pytest_isolate.sandbox.mounts.readonly import make_read_only
from pytest_isolate.sandbox.mounts.values import Bind
from pytest_isolate.sandbox.shortfalls import Form

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_isolate.sandbox.mounts.inroot import NewRoot
    from pytest_isolate.sandbox.mounts.values import Mask
    from pytest_isolate.sandbox.mounts.values import Proc
    from pytest_isolate.sandbox.mounts.values import ReadOnly
    from pytest_isolate.sandbox.shortfalls import Shortfalls


@final
class ProcMounts:
    """The mounts of one plan that are of proc, or in it."""

    def __init__(
        self, root: NewRoot, shortfalls: Shortfalls, *, userns: bool, pids_of: int | None
    ) -> None:
        self._root: Final = root
        self._shortfalls: Final = shortfalls
        self._userns: Final = userns
        self._data: Final = "" if pids_of is None else f"pidns=/proc/{pids_of}/ns/pid"
        self._is_foreign = False  #: whether /proc is not one of the sandbox's own, in full

    def mount(self, mount: Proc) -> None:
        """Mount a proc, or what comes nearest to it.

        In a user namespace the kernel refuses one where the caller's own is partly covered, as a
        container's is: what is covered would be uncovered. One without it may do (Linux 7.2).
        """
        if self._is_foreign:
            return  # there is nothing that a nested sandbox could go by
        refusal: PermissionError | None = None
        for form, flags, data in self._forms(mount):
            try:
                attach.fresh(self._root, "proc", mount.target, flags, data)
            except PermissionError as error:
                refusal = refusal or error
            else:
                self._is_foreign = form is Form.PROCESSES_ALONE
                if form is not None and refusal is not None:
                    self._shortfalls.add_refused(form, mount.target, Part.PROC, refusal)
                return
        if refusal is not None:
            if not self._userns:
                raise refusal
            attach.bind(self._root, Bind(target=mount.target, source="/proc", recursive=True))
            self._is_foreign = True
            self._shortfalls.add_refused(Form.HOST_PROCESSES, mount.target, Part.PROC, refusal)

    def _forms(self, mount: Proc) -> Iterator[tuple[Form | None, int, str]]:
        """Yield what to try in turn: what it lacks, flags and data."""
        if not mount.read_only:
            yield None, 0, self._data
        # Inside another sandbox only a read-only one may be mounted anew.
        yield None if mount.read_only else Form.READ_ONLY, libc.MS_RDONLY, self._data
        if self._userns:
            yield Form.PROCESSES_ALONE, 0, "subset=pid"

    def mask(self, mount: Mask) -> None:
        """Let a file read as empty."""
        if not (self._is_foreign and self._is_out_of_reach(mount.target)):
            attach.bind_file(self._root, "/dev/null", mount.target)

    def lock(self, mount: ReadOnly) -> None:
        """Let what is there only be read."""
        if self._is_foreign and self._is_out_of_reach(mount.target):
            return
        place = self._root.find(mount.target)
        libc.mount(place, place, None, libc.MS_BIND)
        place = self._root.find(mount.target)
        make_read_only(place, libc.MOUNT_ATTR_RDONLY, recursive=False)

    def _is_out_of_reach(self, target: str) -> bool:
        """Return whether *target* is not there, or read-only as it is."""
        try:
            flags = os.statvfs(self._root.find(target)).f_flag
        except FileNotFoundError:
            return True
        return bool(flags & os.ST_RDONLY)
