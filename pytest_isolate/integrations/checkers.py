"""pytest-mypy: mypy runs once a session, in pytest's process; its items look up their lines.

The first item would run it, and leave a file in the temporary directory for the others.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING
from typing import Any
from typing import Final

from pytest_isolate.integrations.presence import registered

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

_MYPY: Final = "pytest_mypy"


def run_mypy(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    """Run mypy now if isolated *items* will ask for what it says."""
    module = registered(config, _MYPY)
    if module is None:
        return
    mine = [item for item in items if isinstance(item, module.MypyItem)]
    if mine:
        with suppress(Exception):  # the first item will meet it again, and tell
            results = module.MypyResults.from_session(mine[0].session)
            _give(config, module, results)


def _give(config: pytest.Config, module: Any, results: Any) -> None:  # noqa: ANN401  # pytest-mypy's
    """Let every process of the session have *results* without the file."""
    original = module.MypyResults.from_session
    module.MypyResults.from_session = staticmethod(lambda _session: results)
    config.add_cleanup(lambda: setattr(module.MypyResults, "from_session", original))
