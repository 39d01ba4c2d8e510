"""The caller's name: a line for it in the root's /etc/passwd, whoever knows it outside.

systemd, sssd and nscd answer by sockets that a sandbox has not. What they know of the caller is
asked once, outside, and added to the files, which every sandbox can read.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
import grp
import os
import pwd
from typing import TYPE_CHECKING
from typing import Final
from typing import final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Mapping
_ID: Final = 2  #: which field of a line is the id; the name is the first


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """The caller's lines of passwd(5) and group(5), by id; none of an id that nobody knows."""

    users: Mapping[int, str] = field(default_factory=dict)
    groups: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def survey(cls) -> Accounts:
        """Ask the name services of this machine for the ids of this process."""
        uids = (os.geteuid(), 0)
        gids = (os.getegid(), *os.getgroups(), 0)
        return cls(
            users={uid: line for uid in uids if (line := _user(uid))},
            groups={gid: line for gid in gids if (line := _group(gid))},
        )


def _user(uid: int) -> str:
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return ""
    ids = f"{user.pw_uid}:{user.pw_gid}"
    return f"{user.pw_name}:x:{ids}:{user.pw_gecos}:{user.pw_dir}:{user.pw_shell}"


def _group(gid: int) -> str:
    try:
        group = grp.getgrgid(gid)
    except KeyError:
        return ""
    return f"{group.gr_name}:x:{group.gr_gid}:{','.join(group.gr_mem)}"


def lacking(text: str, lines: Iterable[str]) -> str:
    """Return those of *lines* whose name and id are both new to the file *text*."""
    rows = [line.split(":") for line in text.splitlines()]
    taken = {row[0] for row in rows} | {row[2] for row in rows if len(row) > _ID}
    new = [line for line in lines if taken.isdisjoint(line.split(":")[: _ID + 1 : _ID])]
    return "".join(f"{line}\n" for line in new)
