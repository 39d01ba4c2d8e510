"""Whether systemd runs this machine, and where the manager of this process's user is."""

from __future__ import annotations

import os


def is_here() -> bool:
    """Return whether systemd has booted this machine, see sd_booted(3)."""
    return os.path.isdir("/run/systemd/system")


def user_directory() -> str:
    """Return where the user's manager listens; `su` and `sudo` leave it out of the environment."""
    return os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.geteuid()}")


def has_user_manager() -> bool:
    """Return whether this process's user has a manager: from a login, or started by root."""
    if "DBUS_SESSION_BUS_ADDRESS" in os.environ:
        return True
    return os.path.exists(f"{user_directory()}/bus")
