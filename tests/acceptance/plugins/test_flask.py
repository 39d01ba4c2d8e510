"""A Flask application with a database in SQLite is the same in a sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite


def test_application_is_the_same(suite: Suite) -> None:
    suite.copy("plugins/flask")

    plain, isolated = suite.twice()

    assert isolated == plain
    assert plain.outcomes("test_served")["call"] == "passed"
