"""What other plugins do not give of isolated tests: a line for each, before the first test. Data.

What they measure or change is a process, or the tree of files: an isolated test has others of its
own.
"""

from __future__ import annotations

from dataclasses import dataclass
import os
import re
from typing import TYPE_CHECKING
from typing import Any
from typing import Final

from pytest_isolate.integrations.presence import registered

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator
    from collections.abc import Sequence

    import pytest


def _asked(*names: str) -> Callable[[pytest.Config], bool]:
    """Return what tells whether one of the options called *names* was given."""
    return lambda config: any(getattr(config.option, name, None) for name in names)


def _unless(name: str) -> Callable[[pytest.Config], bool]:
    return lambda config: not getattr(config.option, name, None)


def _codspeed(config: pytest.Config) -> bool:
    return _asked("codspeed")(config) or "CODSPEED_ENV" in os.environ


def _inline_snapshot(config: pytest.Config) -> bool:
    return getattr(config.option, "inline_snapshot", None) is None  # else it is refused


@dataclass(frozen=True, slots=True)
class Notice:
    """What is said if a plugin is there and is to do something."""

    module: str
    line: str
    wanted: Callable[[pytest.Config], bool] = lambda _: True
    fixture: str = ""  #: it speaks of tests with this fixture


_ELSEWHERE: Final = "pytest's process, where isolated tests do not run"
NOTICES: Final = (
    Notice(
        "pytest_profiling",
        f"pytest-profiling measures {_ELSEWHERE}: profile with --no-isolate",
        _asked("profile", "profile_svg"),
    ),
    Notice(
        "pytest_codspeed.plugin",
        f"pytest-codspeed reports what it measures in {_ELSEWHERE}: measure with --no-isolate",
        _codspeed,
    ),
    Notice(
        "pytest_monitor.pytest_monitor",
        f"pytest-monitor measures {_ELSEWHERE}: they are not monitored; without isolation"
        " they are (--no-isolate)",
        _unless("mtr_none"),
    ),
    Notice(
        "pytest_opentelemetry.plugin",
        "pytest-opentelemetry exports one span of an isolated test, with its status: those of"
        " its phases, its fixtures and its code end with its process (--no-isolate has them)",
        _asked("export_traces"),
    ),
    Notice(
        "inline_snapshot.pytest_plugin",
        "inline-snapshot is disabled, as with xdist: snapshot(x) is x, and no snapshot is"
        " created, fixed or trimmed; do that with --no-isolate",
        _inline_snapshot,
    ),
    Notice(
        "xprocess.pytest_xprocess",
        "processes of pytest-xprocess end with the isolated test that started them: each such"
        " test starts its own",
        fixture="xprocess",
    ),
)
#: Options that let tests write into the tree have such a word in their names.
_WRITES: Final = re.compile(
    r"--[a-z-]*(?:update|regen|record|reset|rewrit|overwrit|approv|accept|golden|bless)[a-z-]*\b"
)
_NOT: Final = frozenset({"none", "no", "false", "off", "0"})


def lines(config: pytest.Config, items: Sequence[pytest.Item], *, writable: bool) -> Iterator[str]:
    """Yield what is to be said before *items*, isolated ones, run.

    *writable* tells whether somebody has named what of the tree they may change.
    """
    for notice in NOTICES:
        if (
            registered(config, notice.module)
            and notice.wanted(config)
            and (not notice.fixture or any(_uses(item, notice.fixture) for item in items))
        ):
            yield f"isolate: {notice.line}"
    if not writable:
        for flag in _writing_flags(config.invocation_params.args):
            yield (
                f"isolate: {flag}: what isolated tests write beside them is thrown away;"
                " keep it with --isolate-writable=DIRECTORY, or use --no-isolate"
            )


def _uses(item: Any, fixture: str) -> bool:  # noqa: ANN401  # not every item has fixtures
    return fixture in getattr(item, "fixturenames", ())


def _writing_flags(arguments: Sequence[str]) -> Iterator[str]:
    """Yield the flags among *arguments* that let tests write into the tree."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        flag, equals, value = argument.partition("=")
        if _WRITES.fullmatch(flag) and (value if equals else following).lower() not in _NOT:
            yield flag
