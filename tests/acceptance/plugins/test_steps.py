"""pytest-steps: a step that fails is seen, and those after it are skipped."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite


def test_steps_of_a_generator_are_those_of_a_plain_run(suite: Suite) -> None:
    suite.write({
        "a": """
            import pytest
            from pytest_steps import optional_step, test_steps

            @test_steps("a", "b", "c")
            def test_fails():
                yield
                assert 0
                yield
                yield
            @pytest.mark.parametrize("number", [1, 2])
            @test_steps("first", "second")
            def test_each(number):
                found = [number]
                yield
                assert found == [1]
                yield
            @test_steps("a", "b", "c")
            def test_optional():
                yield
                with optional_step("b") as b: assert 0
                yield b
                with optional_step("c", depends_on=b) as c:
                    if c.should_run(): pass
                yield c
        """
    })

    plain, isolated = suite.twice("-p", "pytest_steps.plugin", "-rA", "--tb=short")

    assert isolated == plain
    assert plain.outcomes("test_fails[b]")["call"] == "failed"
    assert plain.outcomes("test_fails[c]")["call"] == "skipped"
