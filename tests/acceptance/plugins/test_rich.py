"""pytest-rich draws while tests run: its console's lock, held at a fork, hangs none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite


@pytest.mark.parametrize("arguments", ["--rich", "--rich -s"])
def test_none_of_many_tests_hangs_while_a_thread_draws(arguments: str, suite: Suite) -> None:
    suite.write({
        "a": """
            import pytest

            @pytest.mark.parametrize("number", range(40))
            def test_prints(number):
                print("line of", number)
                assert number != 7
        """
    })
    options = ("-p", "pytest_rich.plugin", *arguments.split())

    run = suite.run("--isolate", *options)

    outcomes = [run.outcomes(f"test_prints[{number}]")["call"] for number in range(40)]
    assert outcomes == ["failed" if number == 7 else "passed" for number in range(40)]
    assert run.status == 1
