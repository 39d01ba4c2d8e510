"""pytest-dependency knows how the tests before have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite


def test_dependents_run_if_what_they_need_has_passed(suite: Suite) -> None:
    suite.write({
        "a": """
            import pytest

            @pytest.mark.dependency()
            def test_a(): pass
            @pytest.mark.dependency()
            def test_b(): assert 0
            @pytest.mark.dependency(depends=["test_a"])
            def test_c(): pass
            @pytest.mark.dependency(depends=["test_b"])
            def test_d(): pass
            @pytest.mark.dependency(depends=["test_c"], scope="module")
            def test_e(): pass
        """,
        "b": """
            import pytest

            @pytest.mark.dependency(depends=["test_a.py::test_e"], scope="session")
            def test_f(): pass
            @pytest.mark.dependency(depends=["test_a.py::test_b"], scope="session")
            def test_g(): pass
        """,
    })

    plain, isolated = suite.twice("-p", "pytest_dependency", "-rA")

    assert isolated == plain
    assert "4 passed, 2 skipped, 1 failed" in plain.output or "1 failed, 4 passed" in plain.output
