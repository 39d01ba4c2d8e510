"""pytest-mock's fixtures are the same in a sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite


def test_mocks_are_the_same(suite: Suite) -> None:
    suite.write({
        "a": """
            import os

            def test_patch(mocker):
                mocker.patch("os.getcwd", return_value="/nowhere")
                assert os.getcwd() == "/nowhere"
            def test_restored(): assert os.getcwd() != "/nowhere"
            def test_failure(mocker): mocker.Mock()(1).assert_called_with(2)
            def test_introspection(mocker):
                stub = mocker.stub()
                stub(1)
                stub.assert_called_once_with(2)
        """
    })

    plain, isolated = suite.twice("-p", "pytest_mock", "-rA")

    assert isolated == plain
