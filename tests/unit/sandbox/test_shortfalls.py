"""Whatever a sandbox lacks is told in one line, which names the place and the refusal."""

from __future__ import annotations

import errno
import json

import pytest

from pytest_isolate.sandbox.features import Part
from pytest_isolate.sandbox.shortfalls import Form
from pytest_isolate.sandbox.shortfalls import Shortfall

REFUSED = Shortfall(
    form=Form.READ_ONLY,
    part=Part.OVERLAY,
    where=("/data",),
    refused="overlay",
    code=errno.EINVAL,
)
EVERYWHERE = Shortfall(
    form=Form.NETWORK_OF_ROOT, part=Part.NET, refused="setting", code=errno.EROFS
)
TOO_LARGE = Shortfall(
    form=Form.READ_ONLY, part=Part.OVERLAY, where=("/a", "/b", "/c", "/d"), why="too large to copy"
)


@pytest.mark.parametrize(
    ("shortfall", "line"),
    [
        (REFUSED, "read-only: /data (overlay refused: EINVAL)"),
        (EVERYWHERE, "low ports and ping for user 0 alone (setting refused: EROFS)"),
        (TOO_LARGE, "read-only: /a, /b, /c and 1 more (too large to copy)"),
    ],
)
def test_the_line_names_the_places_and_the_reason(shortfall: Shortfall, line: str) -> None:
    assert str(shortfall) == line


@pytest.mark.parametrize("form", Form)
def test_json_keeps_it(form: Form) -> None:
    shortfall = Shortfall(form=form, part=Part.PROC, where=("/proc", "/x"), refused="proc", code=1)

    assert Shortfall.from_json(json.loads(json.dumps(shortfall.to_json()))) == shortfall
