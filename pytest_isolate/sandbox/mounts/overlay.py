"""Overlays: the options that this kernel needs, and what an overlay's top directory looks like."""

from __future__ import annotations

import os
import stat
from typing import Final
from typing import NamedTuple

from pytest_isolate.sandbox.linux import libc

#: Without these, renaming a lower directory is EXDEV and `samefile` of two hard links becomes
#: false, see Documentation/filesystems/overlayfs.rst. Without xino a file has the inode number
#: that it has outside. With it bit 63 is set of what lies on the lower file system: 32-bit programs
#: get EOVERFLOW, JavaScript rounds it, and sqlite takes a database that was opened outside for
#: another one. The price is that a directory listing has other numbers of directories than stat(2).
_AS_ROOT: Final = "redirect_dir=on,index=on,xino=off,metacopy=off"
#: In a user namespace overlayfs keeps its marks in `user.` attributes (Linux 5.11), which tmpfs
#: has since 6.6: before, a directory of the host cannot be removed (EIO). It refuses redirect_dir
#: with them, and drops index without a word.
_IN_USERNS: Final = "userxattr,xino=off"
_SPECIAL_BITS: Final = stat.S_ISUID | stat.S_ISGID


class Layers(NamedTuple):
    """The directories of one overlay."""

    lower: str
    upper: str
    work: str  #: overlayfs's own, of the same file system as *upper*


def mount_overlay(place: str, layers: Layers, *options: str, userns: bool, flags: int = 0) -> None:
    """Mount an overlay on *place*, with more *options* than it needs; *work* is made."""
    os.mkdir(layers.work, 0o700)
    where = (f"{name}dir={_escape(path)}" for name, path in layers._asdict().items())
    needed = _IN_USERNS if userns else _AS_ROOT
    libc.mount("overlay", place, "overlay", flags, ",".join((*where, needed, *options)))


def top_directory(upper: str, lower: str, mode: int | None = None) -> None:
    """Make the upper directory: it is what the mount's top directory looks like.

    Without *mode* it looks like *lower*.
    """
    status = os.stat(lower)
    given = stat.S_IMODE(status.st_mode) if mode is None else mode
    os.mkdir(upper, given)
    if mode is None and (status.st_uid or status.st_gid):
        os.chown(upper, status.st_uid, status.st_gid)
    if given & _SPECIAL_BITS:  # which mkdir(2) ignores
        os.chmod(upper, given)


def _escape(path: str) -> str:
    """Return *path* as overlayfs reads it: a comma ends an option, a colon a layer."""
    for character in "\\,:":
        path = path.replace(character, "\\" + character)
    return path
