"""A test that is killed for memory says where it was, what used the memory, and who was killed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from typing import Final

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Run
    from tests.acceptance.conftest import Suite

LINE: Final = "OOM killed: exceeded its memory cap of 60.0 MiB (peak 60.0 MiB)"
#: Each death: the functions that were running, the outermost last.
STACKS: Final = {
    "test_fast": ["hold_the_gil", "test_fast"],
    "test_slow": ["grow", "test_slow"],
    "test_tmp": ["fill", "test_tmp"],
    "test_shm": ["fill", "test_shm"],
    "test_thread": ["grow", "join", "test_thread"],
    "test_fixture": ["hold_the_gil", "eats"],
    "test_many_children": ["test_many_children"],
    "test_child": ["wait", "test_child"],
    "test_two_children": ["wait", "test_two_children"],
    "test_child_and_then_the_test_itself": ["grow", "test_child_and_then_the_test_itself"],
}
DEAD: Final = (*STACKS, "test_denied_and_content", "test_exec")
SURVIVORS: Final = ("test_lives_below_its_cap", "test_lives_with_files_in_the_page_cache")

pytestmark = pytest.mark.needs("memory")


@pytest.fixture(scope="module")
def run(module_suite: Suite) -> Run:
    """Return a run of all deaths."""
    module_suite.copy("out_of_memory")
    return module_suite.run("-p", "no:cacheprovider")


def sections(run: Run, name: str) -> dict[str, str]:
    """Return the sections of the report that says the line."""
    (dead,) = (one for one in run.reports(name).values() if one["text"].startswith("OOM killed"))
    return dict(dead["sections"])


@pytest.mark.parametrize("name", DEAD)
def test_line_says_the_cap_as_it_was_written(name: str, run: Run) -> None:
    texts = [report["text"] for report in run.reports(name).values() if report["text"]]

    assert LINE in texts
    assert "of 60.0 MiB" in sections(run, name)["Figures"]


@pytest.mark.parametrize("name", SURVIVORS)
def test_test_within_its_cap_lives(name: str, run: Run) -> None:
    assert set(run.outcomes(name).values()) == {"passed"}


@pytest.mark.parametrize("name", STACKS)
def test_stacks_show_where_the_test_was(name: str, run: Run) -> None:
    stacks = sections(run, name)["Stacks of all threads"]

    functions = re.findall(r" in (\w+)$", stacks, re.MULTILINE)
    assert [one for one in functions if one in STACKS[name]] == STACKS[name], stacks
    assert "_pytest" not in stacks


def test_memory_is_told_by_kind(run: Run) -> None:
    kinds = {
        name: dict(line.split(": ") for line in sections(run, name)["Memory by kind"].splitlines())
        for name in ("test_fast", "test_tmp")
    }

    assert list(kinds["test_fast"]) == list(kinds["test_tmp"])
    assert float(kinds["test_fast"]["anonymous"].removesuffix(" MiB")) > 50
    assert float(kinds["test_tmp"]["tmpfs and shared memory"].removesuffix(" MiB")) > 40


def test_process_that_the_kernel_killed_is_named(run: Run) -> None:
    assert re.fullmatch(
        r" *pid +RSS +PSS  command\n"
        r" *\d+ +[\d.]+ MiB +[\d.]+ MiB  the test  <- killed by the kernel",
        sections(run, "test_slow")["Processes"],
    )
    assert re.fullmatch(
        r"pid \d+ \([\d.]+ MiB\): the test", sections(run, "test_slow")["Killed for memory"]
    )


def test_killed_child_fails_a_test_that_goes_on(run: Run) -> None:
    assert run.outcomes("test_child") == {"setup": "passed", "call": "passed", "teardown": "failed"}
    found = sections(run, "test_child")
    assert found["Captured stdout call"] == "went on\n"
    assert re.fullmatch(
        r"pid \d+ \([\d.]+ MiB\): \S*python\S* -c 'x = bytearray\(200_000_000\)'\n"
        r"The test itself was not killed; it fails for that all the same\.",
        found["Killed for memory"],
    )
    table = found["Processes"].splitlines()
    assert [line for line in table if line.endswith("  the test")]
    assert [
        line for line in table if line.endswith("bytearray(200_000_000)'  <- killed by the kernel")
    ]


def test_every_killed_process_is_named(run: Run) -> None:
    two = sections(run, "test_two_children")["Killed for memory"]
    both = sections(run, "test_child_and_then_the_test_itself")["Killed for memory"]

    assert re.findall(r"bytearray\((\d+)\)", two) == ["150000000", "160000000"]
    assert re.findall(r"150_000_000|the test$", both) == ["150_000_000", "the test"]


def test_children_are_listed_by_size(run: Run) -> None:
    table = sections(run, "test_many_children")["Processes"].splitlines()[1:]

    children = [line for line in table if "x = b'" in line]
    sizes = [float(line.split()[1]) for line in table]
    assert len(children) >= 4
    assert sizes == sorted(sizes, reverse=True)
