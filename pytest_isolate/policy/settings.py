"""The table of settings: what can be asked of an isolated test, and where.

Flags, ini keys, the marker's signature and their help come from this table alone. A row's name is
its argument of `@pytest.mark.isolated` and its field of `Policy`.
"""

from __future__ import annotations

from dataclasses import dataclass
import enum
from functools import partial
from typing import TYPE_CHECKING
from typing import Any
from typing import Final

from pytest_isolate.policy import parsers
from pytest_isolate.policy import sizes
from pytest_isolate.sandbox.spec import DirectoryRoot
from pytest_isolate.sandbox.spec import MinimalRoot
from pytest_isolate.sandbox.spec import Network
from pytest_isolate.sandbox.spec import Root
from pytest_isolate.sandbox.spec import User

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Mapping


class Recourse(enum.StrEnum):
    """What becomes of a test whose sandbox cannot be had in full."""

    FAIL = "fail"
    SKIP = "skip"
    DEGRADE = "degrade"  #: it runs with what there is


class Leaks(enum.StrEnum):
    """What becomes of what a test leaves behind: processes, threads, files."""

    OFF = "off"
    SUMMARY = "summary"  #: it is told at the end of the run
    FAIL = "fail"  #: it fails the test


class Keep(enum.StrEnum):
    """Of which tests the files that they wrote are kept."""

    NONE = "none"
    FAILED = "failed"
    ALL = "all"


class Shape(enum.Enum):
    """How a setting is written in a flag and in an ini file."""

    SWITCH = enum.auto()
    WORD = enum.auto()
    SIZE = enum.auto()  #: a whole number, or text
    WHOLE = enum.auto()  #: a whole number, or a word
    REAL = enum.auto()  #: a number, or a word
    LIST = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One row of the table."""

    name: str
    shape: Shape
    form: str  #: what is written, as the help names it
    help: str
    parse: Callable[[object, str], Any]  #: of what was written, and where relative paths start
    show: Callable[[Any], str] = str  #: the value, as the report header names it
    flag: str = ""
    ini: str = ""
    marker: bool = True  #: whether the marker takes it
    in_header: bool = True  #: whether the report header has it: it changes how tests run

    def tell(self) -> str:
        """Return where else than in the marker this is written."""
        places = (self.flag, f"{self.ini} in the ini file" if self.ini else "")
        return " or ".join(place for place in places if place)


def _anywhere(parse: Callable[[object], Any]) -> Callable[[object, str], Any]:
    """Return *parse* for the table: what has no path in it means the same in every directory."""

    def parse_anywhere(value: object, _base: str) -> Any:  # noqa: ANN401  # as the table's
        return parse(value)

    return parse_anywhere


def _words(kind: type[enum.StrEnum]) -> str:
    return "|".join(kind)


def _show_root(root: Root) -> str:
    if isinstance(root, DirectoryRoot):
        return root.path
    return "minimal" if isinstance(root, MinimalRoot) else "host"


def _show_names(env: tuple[tuple[str, str], ...]) -> str:
    """Return the names alone: a value may be a secret."""
    return " ".join(name for name, _ in env) or "none"


def _show_list(items: tuple[str, ...]) -> str:
    return " ".join(items) or "none"


SETTINGS: Final = (
    Setting(
        name="enabled",
        shape=Shape.SWITCH,
        form="True|False",
        help="isolate every test; enabled=False in a marker leaves that test out",
        parse=_anywhere(parsers.switch),
        flag="--isolate",
        ini="isolate",
    ),
    Setting(
        name="memory",
        shape=Shape.SIZE,
        form="SIZE",
        help="cap on memory, swap included: bytes, 100M, 1.5GiB, 100MB, or none (default 1G)",
        parse=_anywhere(parsers.memory),
        show=sizes.format_size,
        flag="--isolate-memory",
        ini="isolate_memory",
    ),
    Setting(
        name="timeout",
        shape=Shape.REAL,
        form="SECONDS",
        help="limit on the wall-clock time of setup, call and teardown, or none (default none)",
        parse=_anywhere(parsers.timeout),
        show=lambda seconds: f"{seconds:g} s",
        flag="--isolate-timeout",
        ini="isolate_timeout",
    ),
    Setting(
        name="pids",
        shape=Shape.WHOLE,
        form="N",
        help="cap on processes and threads at once, or none (default 1024)",
        parse=_anywhere(parsers.pids),
        flag="--isolate-pids",
        ini="isolate_pids",
    ),
    Setting(
        name="cpus",
        shape=Shape.REAL,
        form="N",
        help="cap on CPUs, such as 1.5, or none (default none)",
        parse=_anywhere(parsers.cpus),
        show=lambda number: f"{number:g}",
        flag="--isolate-cpus",
        ini="isolate_cpus",
    ),
    Setting(
        name="network",
        shape=Shape.WORD,
        form=_words(Network),
        help="network: loopback of its own, none at all, or the host's (default loopback)",
        parse=_anywhere(partial(parsers.word, Network)),
        flag="--isolate-network",
        ini="isolate_network",
    ),
    Setting(
        name="rootfs",
        shape=Shape.WORD,
        form=f"{'|'.join(parsers.ROOTS)}|DIR",
        help="root file system; a directory is written with a slash, or as . (default host)",
        parse=parsers.root,
        show=_show_root,
        flag="--isolate-rootfs",
        ini="isolate_rootfs",
    ),
    Setting(
        name="hostname",
        shape=Shape.WORD,
        form="NAME",
        help="host name (default isolated)",
        parse=_anywhere(parsers.hostname),
        flag="--isolate-hostname",
        ini="isolate_hostname",
    ),
    Setting(
        name="env",
        shape=Shape.LIST,
        form="MAPPING",
        help="environment variables to add; in the ini file lines of NAME=VALUE",
        parse=_anywhere(parsers.environment),
        show=_show_names,
        ini="isolate_env",
    ),
    Setting(
        name="pass_env",
        shape=Shape.LIST,
        form="PATTERN",
        help="environment variables to keep, such as CI or PIP_*, the rest is dropped; repeatable"
        " (default: everything is kept)",
        parse=_anywhere(parsers.patterns),
        show=_show_list,
        flag="--isolate-pass-env",
        ini="isolate_pass_env",
    ),
    Setting(
        name="writable",
        shape=Shape.LIST,
        form="PATH",
        help="paths that are written through to the host; repeatable (default none)",
        parse=parsers.paths,
        show=_show_list,
        flag="--isolate-writable",
        ini="isolate_writable",
    ),
    Setting(
        name="user",
        shape=Shape.WORD,
        form=_words(User),
        help="identity: keep the caller's, or root of its own user namespace (default keep)",
        parse=_anywhere(partial(parsers.word, User)),
        flag="--isolate-user",
        ini="isolate_user",
    ),
    Setting(
        name="unavailable",
        shape=Shape.WORD,
        form=_words(Recourse),
        help="what to do with a test whose sandbox cannot be had: fail it, skip it,"
        " or run it with what there is (default fail)",
        parse=_anywhere(partial(parsers.word, Recourse)),
        flag="--isolate-unavailable",
        ini="isolate_unavailable",
        marker=False,
    ),
    Setting(
        name="report_leaks",
        shape=Shape.WORD,
        form=_words(Leaks),
        help="what a test leaves running and writes outside of tmp_path: not looked at, told at the"
        " end, or a failure of the test (default off)",
        parse=_anywhere(partial(parsers.word, Leaks)),
        flag="--isolate-report-leaks",
        ini="isolate_report_leaks",
    ),
    Setting(
        name="keep",
        shape=Shape.WORD,
        form=_words(Keep),
        help="of which tests the files that they wrote are kept (default none)",
        parse=_anywhere(partial(parsers.word, Keep)),
        flag="--isolate-keep",
        ini="isolate_keep",
        marker=False,
    ),
    Setting(
        name="keep_dir",
        shape=Shape.WORD,
        form="DIR",
        help="where files are kept; otherwise in the temporary directory, of the last three runs",
        parse=parsers.directory,
        flag="--isolate-keep-dir",
        ini="isolate_keep_dir",
        marker=False,
        in_header=False,
    ),
    Setting(
        name="top",
        shape=Shape.WHOLE,
        form="N",
        help="show the N hungriest tests at the end: their memory, cap and time; 0 is all"
        " (default none)",
        parse=_anywhere(parsers.top),
        flag="--isolate-top",
        ini="isolate_top",
        marker=False,
        in_header=False,
    ),
)
BY_NAME: Final[Mapping[str, Setting]] = {setting.name: setting for setting in SETTINGS}
