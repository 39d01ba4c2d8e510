"""Each setting takes what its documentation says, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_isolate.policy import parsers
from pytest_isolate.policy.settings import BY_NAME
from pytest_isolate.policy.settings import Keep
from pytest_isolate.policy.settings import Leaks
from pytest_isolate.sandbox.spec import DirectoryRoot
from pytest_isolate.sandbox.spec import HostRoot
from pytest_isolate.sandbox.spec import MinimalRoot
from pytest_isolate.sandbox.spec import Network
from pytest_isolate.sandbox.spec import User

NAN = float("nan")
INFINITE = float("inf")


def _taken(name: str, written: object, meant: object) -> object:
    return pytest.param(name, written, meant, id=f"{name}={parsers.shown(written)}")


@pytest.mark.parametrize(
    ("name", "written", "meant"),
    [
        ("enabled", True, True),
        ("enabled", False, False),
        _taken("memory", "100M", 100 * 1024**2),
        _taken("memory", 4 * 1024**2, 4 * 1024**2),
        _taken("memory", "none", None),
        _taken("memory", None, None),
        _taken("timeout", 10, 10.0),
        _taken("timeout", 0.5, 0.5),
        _taken("timeout", "2.5", 2.5),
        _taken("timeout", "none", None),
        _taken("pids", 64, 64),
        _taken("pids", "64", 64),
        _taken("pids", None, None),
        _taken("cpus", 1.5, 1.5),
        _taken("top", "0", 0),
        _taken("report_leaks", "summary", Leaks.SUMMARY),
        _taken("keep", "all", Keep.ALL),
        _taken("keep_dir", "a/../kept", "/kept"),
        _taken("keep_dir", None, None),
        _taken("top", 3, 3),
        _taken("top", "none", None),
        _taken("cpus", "2", 2.0),
        _taken("cpus", "None", None),
        _taken("network", "host", Network.HOST),
        _taken("network", Network.NONE, Network.NONE),
        _taken("user", "root", User.ROOT),
        _taken("hostname", "container-demo", "container-demo"),
        _taken("hostname", "a" * 64, "a" * 64),
        _taken("hostname", "db.example.org", "db.example.org"),
        _taken("env", {"B": "2", "A": "1"}, (("A", "1"), ("B", "2"))),
        _taken("env", ["A=1", "B=x=y", "C="], (("A", "1"), ("B", "x=y"), ("C", ""))),
        _taken("env", {}, ()),
        _taken("pass_env", ["PIP_*", "CI", "CI"], ("CI", "PIP_*")),
        _taken("pass_env", ("CI",), ("CI",)),
        _taken("pass_env", "CI", ("CI",)),
        _taken("pass_env", [], ()),
        _taken("pass_env", None, None),
    ],
)
def test_value_is_taken(name: str, written: object, meant: object) -> None:
    found = BY_NAME[name].parse(written, "/")

    assert found == meant
    assert type(found) is type(meant)


@pytest.mark.parametrize(
    ("name", "written", "allowed"),
    [
        *(_taken("enabled", written, "True or False") for written in (1, 0, None, "true")),
        *(_taken("memory", written, "K, M, G, T") for written in ("lots", "", True, 1e9, -1, [1])),
        *(_taken("memory", written, "at least 4.0 MiB, or none") for written in (0, 100, "4095K")),
        _taken("memory", 2**63, "at least 4.0 MiB, or none"),
        *(
            _taken("timeout", written, "seconds above 0, at most 2147483, or none")
            for written in (0, -1, NAN, INFINITE, True, "soon", "", [1], 2_147_484, 10**400)
        ),
        *(
            _taken("pids", written, "1 to 4194304, or none")
            for written in (0, -1, 1.5, NAN, INFINITE, True, "many", 4_194_305)
        ),
        _taken("keep", "some", "none, failed, all"),
        _taken("keep_dir", "", "write an absolute one"),
        _taken("keep_dir", "/etc/passwd", "Not a directory"),
        _taken("keep_dir", 3, "3 is not a string"),
        *(
            _taken("top", written, "0 for all of them, or none")
            for written in (-1, 1.5, NAN, INFINITE, True, "many")
        ),
        *(
            _taken("cpus", written, "at least 0.01, or none")
            for written in (0, -1, 0.001, NAN, INFINITE, True, "all")
        ),
        *(
            _taken("network", written, "loopback, none, host")
            for written in ("lo", "Host", "", None, True, ["host"])
        ),
        *(
            _taken("hostname", written, "at most 64 letters, digits")
            for written in ("", "a" * 65, "-a", "a b", "a/b", "ä", "a\n")
        ),
        _taken("hostname", None, "not a string"),
        _taken("env", {"": "1"}, "'' is not a variable's name"),
        _taken("env", {"A=B": "1"}, "'A=B' is not a variable's name"),
        _taken("env", {"A": 1}, "1 is not a string"),
        _taken("env", {1: "A"}, "1 is not a string"),
        _taken("env", {"A": "\0"}, "does not take"),
        _taken("env", {"A\0": "1"}, "does not take"),
        _taken("env", {"A": "\ud800"}, "does not take"),
        _taken("env", ["A"], "write NAME=VALUE"),
        _taken("env", ["=1"], "'' is not a variable's name"),
        _taken("env", None, "write a list"),
        _taken("pass_env", ["CI, PIP_*"], "write a list of such as PIP_*"),
        _taken("pass_env", "CI PIP_*", "write a list of such as PIP_*"),
        _taken("pass_env", ["CI=1"], "write a list of such as PIP_*"),
        _taken("pass_env", [""], "write a list of such as PIP_*"),
        _taken("pass_env", [1], "1 is not a string"),
        _taken("pass_env", 1, "write a list"),
        _taken("pass_env", {"CI": "1"}, "write a list"),
    ],
)
def test_wrong_value_is_told_what_is_allowed(name: str, written: object, allowed: str) -> None:
    with pytest.raises(parsers.WrongValue) as caught:
        BY_NAME[name].parse(written, "/")

    assert allowed in str(caught.value)
    assert "\n" not in str(caught.value)


def test_root_with_a_name_is_that_root() -> None:
    assert parsers.root("host", "/") == HostRoot()
    assert parsers.root("minimal", "/") == MinimalRoot()


@pytest.mark.parametrize("written", ["./minimal", "sub/../minimal", "minimal/"])
def test_root_with_a_slash_is_a_path_from_its_base(tmp_path: Path, written: str) -> None:
    for name in ("minimal", "sub"):
        (tmp_path / name).mkdir()

    assert parsers.root(written, str(tmp_path)) == DirectoryRoot(str(tmp_path / "minimal"))


def test_root_of_a_dot_is_the_base(tmp_path: Path) -> None:
    assert parsers.root(".", str(tmp_path)) == DirectoryRoot(str(tmp_path))
    (tmp_path / "sub").mkdir()
    assert parsers.root("..", str(tmp_path / "sub")) == DirectoryRoot(str(tmp_path))


def test_root_of_a_path_object_is_a_path_without_a_slash_too(tmp_path: Path) -> None:
    (tmp_path / "host").mkdir()

    assert parsers.root(Path("host"), str(tmp_path)) == DirectoryRoot(str(tmp_path / "host"))


def test_root_is_the_directory_that_a_link_leads_to(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")

    assert parsers.root("./link", str(tmp_path)) == DirectoryRoot(str(tmp_path / "real"))


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("alpine", "unknown; write one of host, minimal, or a directory with a slash in it"),
        ("", "unknown; write one of"),
        ("./gone", "/gone: No such file or directory"),
        ("./file", "/file: Not a directory"),
        ("./file/sub", "/file/sub: Not a directory"),
        ("./loop", "/loop: Too many levels of symbolic links"),
        ("/", "write host"),
        ("./a\0", "does not take"),
        (None, "None is not a string"),
        (1, "1 is not a string"),
    ],
)
def test_wrong_root_is_told_what_is_allowed(tmp_path: Path, written: object, reason: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")

    with pytest.raises(parsers.WrongValue) as caught:
        parsers.root(written, str(tmp_path))

    assert reason in str(caught.value)


@pytest.mark.parametrize("alone", [True, False])
def test_writable_paths_are_absolute_real_and_sorted(tmp_path: Path, *, alone: bool) -> None:
    for name in ("b", "a"):
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to("b")
    real = (str(tmp_path / "a"), str(tmp_path / "b"))

    if alone:
        assert parsers.paths("link", str(tmp_path)) == real[1:]
    else:
        assert parsers.paths(["link", "b", tmp_path / "a"], str(tmp_path)) == real


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        (["gone"], "/gone: No such file or directory"),
        ([""], "an empty path"),
        (["/"], "'/' is the whole machine"),
        ([1], "1 is not a string"),
        (1, "write a list"),
        (None, "write a list"),
    ],
)
def test_wrong_writable_is_told_what_is_allowed(
    tmp_path: Path, written: object, reason: str
) -> None:
    with pytest.raises(parsers.WrongValue) as caught:
        parsers.paths(written, str(tmp_path))

    assert reason in str(caught.value)


def test_relative_path_without_a_base_is_refused() -> None:
    with pytest.raises(parsers.WrongValue, match="write an absolute path"):
        parsers.paths(["a"], "")


def test_shown_value_is_one_short_line() -> None:
    class Matrix:
        def __repr__(self) -> str:
            return "Matrix(1 2\n       3 4)"

    assert parsers.shown(Matrix()) == "Matrix(1 2 3 4)"
    assert parsers.shown("x" * 1000) == f"'{'x' * 76}..."
