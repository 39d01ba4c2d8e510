"""inline-snapshot is disabled as with pytest-xdist: it changes nothing, and says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite

PLUGIN = ("-p", "inline_snapshot.pytest_plugin")


def files(suite: Suite) -> dict[str, bytes]:
    """Return the sources and external files of *suite*."""
    found = [*suite.directory.glob("*.py"), *suite.directory.rglob(".inline-snapshot/**/*")]
    return {str(path): path.read_bytes() for path in found if path.is_file()}


@pytest.fixture
def with_external(suite: Suite) -> Suite:
    """Return a suite with an external file in use, made by a plain run."""
    suite.write({
        "pyproject.toml": '[project]\nname = "shop"\nversion = "1"\n',
        "a": """\
            from inline_snapshot import external, outsource, snapshot

            VALUE = snapshot(5)
            def test_page():
                assert outsource("a long page") == snapshot()
            def test_in():
                assert 5 in snapshot([3, 5])
            def test_known():
                assert 5 == VALUE
        """,
    })
    suite.run(*PLUGIN, "--inline-snapshot=create", CI="")
    assert any(".inline-snapshot" in name for name in files(suite))
    return suite


def test_run_says_that_it_is_disabled_and_passes(with_external: Suite) -> None:
    before = files(with_external)

    run = with_external.run("--isolate", *PLUGIN, CI="")

    assert run.status == 0
    assert len([one for one in run.told if "inline-snapshot is disabled" in one]) == 1
    assert "Trim snapshots" not in run.output
    assert files(with_external) == before


@pytest.mark.parametrize("flags", ["trim", "create,fix", "report"])
def test_asked_for_more_is_one_line_and_changes_nothing(flags: str, with_external: Suite) -> None:
    before = files(with_external)

    run = with_external.run("--isolate", *PLUGIN, f"--inline-snapshot={flags}", CI="")

    assert run.status == pytest.ExitCode.USAGE_ERROR
    assert f"--inline-snapshot={flags} cannot be combined with isolated tests" in run.stderr
    assert files(with_external) == before


def test_without_isolated_tests_it_is_as_ever(with_external: Suite) -> None:
    plain = with_external.run(*PLUGIN, "--inline-snapshot=report", CI="")
    without = with_external.run(
        "--isolate", "--no-isolate", *PLUGIN, "--inline-snapshot=report", CI=""
    )

    assert "Trim snapshots" in plain.output
    assert without.output.count("Trim snapshots") == 1


def test_one_marked_test_disables_it_for_all(with_external: Suite) -> None:
    with_external.write({"b": "import pytest\n@pytest.mark.isolated\ndef test_b(): pass\n"})

    run = with_external.run(*PLUGIN, CI="")

    assert len([one for one in run.told if "inline-snapshot is disabled" in one]) == 1
    assert run.status == 0
