"""Run files of CPython's own test suite by pytest without and with isolation, and compare.

    python3.11 -m tests.suites.standard_library test_os test_tempfile
    python3.11 -m tests.suites.standard_library --all --page docs/reference/real-suites.md

They are the running interpreter's. Which of them fail by pytest is not the question: they have to
end the same. Exits with 1 if a test that is not listed in standard_library.toml ended differently,
was lost or told of more, or if anything was left behind.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from dataclasses import replace
from importlib.util import find_spec
import platform
import sys
import tomllib
from typing import TYPE_CHECKING
from typing import Final
from typing import final

from tests.suites.compare import add_common
from tests.suites.compare import conclude
from tests.suites.comparing import judge
from tests.suites.comparing import tell
from tests.suites.released import HERE
from tests.suites.released import Workshop
from tests.suites.running import Job
from tests.suites.running import run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.suites.comparing import Comparison
    from tests.suites.running import Run

#: The names of its lock, virtual environment and logs.
_NAME: Final = "standard_library"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A file or folder of the suite: a table of standard_library.toml."""

    name: str
    seconds: int  #: that a run may take
    args: tuple[str, ...]  #: pytest's, besides those of all
    leave_out: Mapping[str, str]  #: reasons, by what is deselected
    differs: Mapping[str, str]  #: reasons, by the test that must end differently in isolation

    @property
    def is_there(self) -> bool:
        """Whether the running interpreter has it: an installation may lack some or all."""
        return find_spec("test") is not None and find_spec(f"test.{self.name}") is not None


def parts() -> dict[str, Part]:
    """Return what is known, by name."""
    tables = tomllib.loads((HERE / "standard_library.toml").read_text(encoding="utf-8"))
    return {
        name: Part(
            name=name,
            seconds=table["seconds"],
            args=tuple(table.get("args", ())),
            leave_out=table.get("leave_out", {}),
            differs=table.get("differs", {}),
        )
        for name, table in tables.items()
    }


def try_part(workshop: Workshop, part: Part) -> Comparison:
    """Run *part* without and with isolation."""

    def attempt(isolated: bool) -> Run:  # noqa: FBT001  # as `judge` calls it
        job = Job(
            name=part.name,
            python=workshop.python(_NAME, isolated=isolated),
            args=(
                *("-p", "cpython_suite", "--assert=plain", "-o", "addopts="),
                # A test case is one by its class; what else is named like a test is none.
                *("-o", "python_classes=", "-o", "python_functions="),
                *part.args,
                *(f"--deselect={_node_id(test)}" for test in part.leave_out),
                *("--pyargs", f"test.{part.name}"),
            ),
            seconds=part.seconds,
        )
        done = run(job, workshop.place, isolated=isolated)
        return replace(done, tests={_named(node): told for node, told in done.tests.items()})

    return judge(f"{part.name} {platform.python_version()}", attempt, part.differs)


def _named(node_id: str) -> str:
    """Return what a test is called here: where one file is asked for, its name is left out."""
    return node_id.removeprefix("::")


def _node_id(test: str) -> str:
    return test if ".py::" in test else f"::{test}"


def main() -> int:
    """Compare what the command line names."""
    known = parts()
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", choices=[*known, []], metavar="NAME")
    parser.add_argument("--all", action="store_true", help="all that the interpreter has")
    add_common(parser)
    arguments = parser.parse_args()
    for name in arguments.names:
        if not known[name].is_there:
            parser.error(f"{sys.executable} comes without test.{name}: take another interpreter")
    names = [
        name
        for name, part in known.items()
        if name in arguments.names or (arguments.all and part.is_there)
    ]
    if not names:
        parser.error("name files, or say --all")
    arguments.place.mkdir(parents=True, exist_ok=True)
    workshop = Workshop(arguments.place)
    comparisons = []
    for name in names:
        comparisons.append(try_part(workshop, known[name]))
        tell(comparisons[-1])
    major, minor, _ = platform.python_version_tuple()
    return conclude(comparisons, arguments.page, f"CPython {major}.{minor}")


if __name__ == "__main__":
    sys.exit(main())
