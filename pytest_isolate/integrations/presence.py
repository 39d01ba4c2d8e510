"""Which other plugins are there."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING
from typing import Any

if TYPE_CHECKING:
    import pytest


def registered(config: pytest.Config, name: str) -> Any:  # noqa: ANN401  # a module of others'
    """Return the module called *name* if it is a plugin of this session, else `None`."""
    module = sys.modules.get(name)
    there = module is not None and config.pluginmanager.is_registered(module)
    return module if there else None
