"""What runs in a test process takes its system calls from where they are kept as they are."""

from __future__ import annotations

import ast
import os
from pathlib import Path
import time
from typing import TYPE_CHECKING
from typing import Final

import pytest

import pytest_isolate
from pytest_isolate.wire.real_os import RealOS

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE: Final = Path(pytest_isolate.__file__).parent
MODULES: Final = [
    path for folder in ("child", "transfer") for path in sorted((PACKAGE / folder).rglob("*.py"))
]
#: As `RealOS` has them from `os` and `time`.
KEPT: Final = {
    f"{module.__name__}.{name}"
    for module in (os, time)
    for name, call in vars(module).items()
    for kept in vars(RealOS).values()
    if call is getattr(kept, "__func__", None)
}


def used(path: Path) -> Iterator[str]:
    """Yield what the module at *path* takes from `os` and `time`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"


def test_what_is_kept_is_known() -> None:
    assert {"os.write", "os._exit", "time.sleep"} <= KEPT


@pytest.mark.parametrize(
    "path", [pytest.param(path, id=str(path.relative_to(PACKAGE))) for path in MODULES]
)
def test_no_call_is_used_that_a_test_may_have_replaced(path: Path) -> None:
    assert KEPT.isdisjoint(used(path))
