"""What a flag, an ini file, a marker or a hook says of isolation is what is meant."""

from __future__ import annotations

from functools import partial
import json
from pathlib import Path
import re
from typing import TYPE_CHECKING
from typing import Any
from typing import Final
from typing import NamedTuple

import pytest

from pytest_isolate.options import policy_of
from pytest_isolate.policy.model import Source
from pytest_isolate.policy.settings import SETTINGS
from pytest_isolate.policy.settings import Keep
from pytest_isolate.policy.settings import Leaks
from pytest_isolate.policy.settings import Recourse
from pytest_isolate.sandbox.spec import DirectoryRoot
from pytest_isolate.sandbox.spec import Network
from pytest_isolate.sandbox.spec import User

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator
    from collections.abc import Mapping

    from pytest_isolate.policy.model import Policy

    Collect = Callable[..., Mapping[str, Policy | None]]

NATIVE_TOML: Final = pytest.version_tuple >= (9, 0)
MIXED_TYPES: Final = pytest.version_tuple >= (9, 2)
MIB: Final = 1024**2
PLAIN: Final = """
    import pytest

    def test_plain(): pass

    @pytest.mark.isolated
    def test_marked(): pass
"""


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    """Return a suite that has nothing but what a test puts into it."""
    return pytester


@pytest.fixture
def collect(suite: pytest.Pytester) -> Collect:
    """Return a function that gives the policy of each test of a source, by the test's name."""

    def collect(source: str, *args: str) -> Mapping[str, Policy | None]:
        suite.makepyfile(source)
        items, record = suite.inline_genitems(*args)
        assert record.ret == pytest.ExitCode.OK
        return {item.name: policy_of(item) for item in items}

    return collect


def usage_errors(suite: pytest.Pytester, *args: str) -> list[str]:
    """Return the lines of the usage errors that end pytest before any test runs."""
    result = suite.runpytest_inprocess("-p", "no:cacheprovider", *args)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert re.search(r"\d (passed|failed|error)", result.stdout.str()) is None
    return [line.removeprefix("ERROR: ") for line in result.errlines if line]


def marked(collect: Collect, marker: str, *args: str) -> Policy:
    policy = collect(f"import pytest\n@pytest.mark.isolated({marker})\ndef test_it(): pass", *args)[
        "test_it"
    ]
    assert policy is not None
    return policy


def test_only_marked_tests_are_isolated_by_default(collect: Collect) -> None:
    policies = collect(PLAIN)

    assert policies["test_plain"] is None
    assert policies["test_marked"] is not None


def test_isolate_is_for_every_test(collect: Collect) -> None:
    assert None not in collect(PLAIN, "--isolate").values()


def test_isolate_leaves_out_what_is_switched_off(collect: Collect) -> None:
    source = "import pytest\n@pytest.mark.isolated(enabled=False)\ndef test_it(): pass"

    assert collect(source, "--isolate") == {"test_it": None}


@pytest.mark.parametrize("args", [("--no-isolate",), ("--isolate", "--no-isolate")], ids=len)
def test_no_isolate_is_for_marked_tests_too(collect: Collect, args: tuple[str, ...]) -> None:
    assert set(collect(PLAIN, *args).values()) == {None}


def test_no_isolate_asks_nothing_of_markers_and_hooks(
    suite: pytest.Pytester, collect: Collect
) -> None:
    suite.makeconftest("def pytest_isolate_policy(item, policy): raise SystemExit")

    policies = collect(
        "import pytest\n@pytest.mark.isolated(rootfs='/gone')\ndef test_it(): pass", "--no-isolate"
    )

    assert policies == {"test_it": None}


def test_doctests_and_test_cases_are_isolated_too(suite: pytest.Pytester, collect: Collect) -> None:
    suite.maketxtfile(test_text=">>> 1\n1\n")
    policies = collect(
        """
        import pytest
        import unittest

        @pytest.mark.isolated(timeout=3)
        class TestIt(unittest.TestCase):
            def test_case(self): pass
        """,
        "--isolate-pids=7",
        "--isolate",
    )

    assert {name: policy and policy.pids for name, policy in policies.items()} == {
        "test_case": 7,
        "test_text.txt": 7,
    }


class Setting(NamedTuple):
    """A setting as TOML writes it, and what is meant."""

    written: Any
    meant: object


def every_setting(here: Path) -> dict[str, Setting]:
    """Return all settings by name; in *here* there is a directory `root`."""
    return {
        "enabled": Setting(written=True, meant=True),
        "memory": Setting("100M", 100 * MIB),
        "timeout": Setting(2.5, 2.5),
        "pids": Setting(64, 64),
        "cpus": Setting(2, 2.0),
        "network": Setting("none", Network.NONE),
        "rootfs": Setting("./root", DirectoryRoot(f"{here}/root")),
        "hostname": Setting("box", "box"),
        "env": Setting(
            ["A=1", "JAVA_HOME=/opt/my java"], (("A", "1"), ("JAVA_HOME", "/opt/my java"))
        ),
        "pass_env": Setting(["CI", "PIP_*"], ("CI", "PIP_*")),
        "writable": Setting(["root", "."], (f"{here}", f"{here}/root")),
        "user": Setting("root", User.ROOT),
        "unavailable": Setting("skip", Recourse.SKIP),
        "report_leaks": Setting("fail", Leaks.FAIL),
        "keep": Setting("failed", Keep.FAILED),
        "keep_dir": Setting("kept", f"{here}/kept"),
        "top": Setting(3, 3),
    }


def flags(settings: Mapping[str, Setting]) -> Iterator[str]:
    """Yield *settings* for the command line."""
    for name, (written, _) in settings.items():
        flag = f"--isolate-{name.replace('_', '-')}"
        match written:
            case True:
                yield "--isolate"
            case list():
                yield from (f"{flag}={one}" for one in written)
            case _:
                yield f"{flag}={written}"


def in_ini(settings: Mapping[str, Setting]) -> str:
    """Return *settings* for pytest.ini."""
    lines = ["[pytest]"]
    for key, written in ini_keys(settings).items():
        value = "\n    ".join(["", *written]) if isinstance(written, list) else written
        lines.append(f"{key} = {value}")
    return "\n".join(lines)


def in_toml(table: str, settings: Mapping[str, Setting]) -> str:
    """Return *settings* for a table of pyproject.toml."""
    lines = [f"{key} = {json.dumps(written)}" for key, written in ini_keys(settings).items()]
    return "\n".join([f"[{table}]", *lines])


def ini_keys(settings: Mapping[str, Setting]) -> dict[str, Any]:
    """Return what is written for *settings*, by their keys in an ini file."""
    return {
        "isolate" if name == "enabled" else f"isolate_{name}": written
        for name, (written, _) in settings.items()
    }


def test_every_flag_is_read(suite: pytest.Pytester, collect: Collect) -> None:
    suite.mkdir("root")
    settings = every_setting(suite.path) | {"cpus": Setting(1.5, 1.5)}
    del settings["env"]  # which has no flag

    policy = collect(PLAIN, *flags(settings))["test_plain"]

    assert policy is not None
    told = {s.name: getattr(policy, s.name) for s in SETTINGS if s.flag}
    assert told == {name: setting.meant for name, setting in settings.items()}
    assert {policy.origin(name).source for name in told} == {Source.COMMAND_LINE}


native_toml = pytest.mark.skipif(not NATIVE_TOML, reason="pytest 8 has no native TOML")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        pytest.param("makeini", in_ini, id="pytest.ini"),
        pytest.param(
            "makepyprojecttoml", partial(in_toml, "tool.pytest.ini_options"), id="ini_options"
        ),
        pytest.param(
            "makepyprojecttoml", partial(in_toml, "tool.pytest"), id="native", marks=native_toml
        ),
    ],
)
def test_every_ini_key_is_read(
    suite: pytest.Pytester,
    collect: Collect,
    make: str,
    text: Callable[[Mapping[str, Setting]], str],
) -> None:
    suite.mkdir("root")
    settings = every_setting(suite.path)
    getattr(suite, make)(text(settings))

    policy = collect(PLAIN)["test_plain"]

    assert policy is not None
    told = {s.name: getattr(policy, s.name) for s in SETTINGS if s.ini}
    assert told == {name: setting.meant for name, setting in settings.items()}
    assert {policy.origin(name).source for name in told} == {Source.INI}


@pytest.mark.skipif(not MIXED_TYPES, reason="a key has one type before pytest 9.2")
def test_native_toml_takes_bytes_and_the_word_none(
    suite: pytest.Pytester, collect: Collect
) -> None:
    suite.makepyprojecttoml("""
        [tool.pytest]
        isolate_memory = 104857600
        isolate_timeout = "none"
        isolate_pids = "none"
        isolate_cpus = "none"
    """)

    policy = collect(PLAIN)["test_marked"]

    assert policy is not None
    assert (policy.memory, policy.timeout, policy.pids, policy.cpus) == (
        100 * MIB,
        None,
        None,
        None,
    )
    assert all(policy.asked(name) for name in ("memory", "timeout", "pids", "cpus"))


@pytest.mark.skipif(NATIVE_TOML and not MIXED_TYPES, reason="a number's key takes no word there")
def test_ini_file_takes_bytes_and_the_word_none(suite: pytest.Pytester, collect: Collect) -> None:
    suite.makeini("[pytest]\nisolate_memory = 104857600\nisolate_pids = none")

    policy = collect(PLAIN)["test_marked"]

    assert policy is not None
    assert (policy.memory, policy.pids) == (100 * MIB, None)


def test_empty_ini_list_is_given(suite: pytest.Pytester, collect: Collect) -> None:
    suite.makeini("[pytest]\nisolate_pass_env =\n")

    policy = collect(PLAIN)["test_marked"]

    assert policy is not None
    assert policy.pass_env == ()


def test_ini_may_switch_on_what_a_marker_switches_off(
    suite: pytest.Pytester, collect: Collect
) -> None:
    suite.makeini("[pytest]\nisolate = yes")

    policies = collect("""
        import pytest

        def test_plain(): pass

        @pytest.mark.isolated(enabled=False)
        def test_marked(): pass
    """)

    assert policies["test_plain"] is not None
    assert policies["test_marked"] is None


def test_marker_beats_command_line_beats_ini_for_each_argument(
    suite: pytest.Pytester, collect: Collect
) -> None:
    suite.makeini("[pytest]\nisolate_memory = 10M\nisolate_pids = 10\nisolate_cpus = 10")

    policy = marked(collect, "memory='30M'", "--isolate-memory=20M", "--isolate-pids=20")

    assert (policy.memory, policy.pids, policy.cpus) == (30 * MIB, 20, 10.0)
    assert policy.timeout is None


def test_closest_marker_wins_argument_by_argument(collect: Collect) -> None:
    policies = collect("""
        import pytest

        pytestmark = pytest.mark.isolated(memory="10M", pids=10, cpus=10, timeout=10)

        @pytest.mark.isolated(pids=20, cpus=20, timeout=20)
        class TestBase:
            pass

        @pytest.mark.isolated(cpus=30, timeout=30)
        class TestIt(TestBase):
            @pytest.mark.isolated(timeout=40)
            @pytest.mark.parametrize(
                "n", [1, pytest.param(2, marks=pytest.mark.isolated(timeout=50))]
            )
            def test_it(self, n): pass
    """)

    found = {
        name: (policy.memory, policy.pids, policy.cpus, policy.timeout)
        for name, policy in policies.items()
        if policy is not None
    }

    assert found == {
        "test_it[1]": (10 * MIB, 20, 30.0, 40.0),
        "test_it[2]": (10 * MIB, 20, 30.0, 50.0),
    }


def test_marker_on_a_test_switches_on_what_its_class_switches_off(collect: Collect) -> None:
    policies = collect("""
        import pytest

        @pytest.mark.isolated(enabled=False, pids=3)
        class TestIt:
            def test_off(self): pass

            @pytest.mark.isolated
            def test_on(self): pass
    """)

    assert policies["test_off"] is None
    assert policies["test_on"] is not None
    assert policies["test_on"].pids == 3


def test_marker_added_at_collection_counts(suite: pytest.Pytester, collect: Collect) -> None:
    suite.makepyfile(
        adder="""
        import pytest

        @pytest.hookimpl(tryfirst=True)
        def pytest_collection_modifyitems(items):
            for item in items:
                item.add_marker(pytest.mark.isolated(pids=3))
        """
    )
    suite.syspathinsert()

    policy = collect(PLAIN, "-p", "adder")["test_plain"]

    assert policy is not None
    assert policy.pids == 3


def test_marker_takes_lists_tuples_mappings_and_paths(
    suite: pytest.Pytester, collect: Collect
) -> None:
    (suite.path / "a").touch()

    policy = marked(
        collect,
        "env={'A': '1'}, pass_env=('CI',), writable=[__import__('pathlib').Path('a')], memory=None",
    )

    assert policy.env == (("A", "1"),)
    assert policy.pass_env == ("CI",)
    assert policy.writable == (str(suite.path / "a"),)
    assert policy.memory is None


def test_relative_paths_of_the_command_line_start_where_pytest_was_called(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite.makeini("[pytest]\nisolate_writable =\n    here")
    inner = suite.mkdir("inner")
    for path in (suite.path / "here", inner / "here", inner / "root"):
        path.mkdir()
    suite.makepyfile("""
        import pytest

        @pytest.mark.isolated
        def test_ini(): pass

        @pytest.mark.isolated(writable=["inner/root"])
        def test_marker(): pass
    """)
    monkeypatch.chdir(inner)

    items, _ = suite.inline_genitems(f"--rootdir={suite.path}", "..", "--isolate-rootfs=./root")
    policies = {item.name: policy_of(item) for item in items}

    assert policies["test_ini"] is not None
    assert policies["test_ini"].writable == (str(suite.path / "here"),)
    assert policies["test_ini"].rootfs == DirectoryRoot(str(inner / "root"))
    assert policies["test_marker"] is not None
    assert policies["test_marker"].writable == (str(inner / "root"),)


@pytest.mark.parametrize("args", [(), ("--collect-only",)], ids=["run", "collect-only"])
@pytest.mark.parametrize(
    ("marker", "line"),
    [
        ("memory='lots'", "(memory='lots'): not a size; write bytes or a number with K, M, G, T, "),
        ("memroy='1G'", "(memroy='1G'): unknown argument; did you mean memory?"),
        ("'1G'", "('1G'): its arguments have names, as in memory='100M'"),
        ("group='a'", "(group='a'): an argument of pytest-isolated, another plugin"),
        ("rootfs='./gone'", "(rootfs='./gone'): {path}/gone: No such file or directory"),
        ("pids=True", "(pids=True): not a number of processes; write 1 to 4194304, or none"),
        ("enabled=False, pids=0", "(pids=0): not a number of processes; "),
    ],
)
def test_wrong_marker_ends_the_run_before_any_test(
    suite: pytest.Pytester, marker: str, line: str, args: tuple[str, ...]
) -> None:
    suite.makepyfile(
        test_x=f"""
        import pytest

        def test_first(): raise SystemExit("ran")

        @pytest.mark.isolated({marker})
        def test_a(): pass
        """
    )

    (error,) = usage_errors(suite, *args)

    start = "test_x.py::test_a: @pytest.mark.isolated"
    assert error.startswith(start + line.format(path=suite.path))


def test_every_wrong_place_is_named_once(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        test_x="""
        import pytest

        @pytest.mark.isolated(pids=0)
        class TestIt:
            def test_a(self): pass
            def test_b(self): pass

        @pytest.mark.isolated(cpus=0)
        def test_c(): pass
        """
    )

    errors = usage_errors(suite)

    assert [error.partition(": not")[0] for error in errors] == [
        "test_x.py::TestIt: @pytest.mark.isolated(pids=0)",
        "test_x.py::test_c: @pytest.mark.isolated(cpus=0)",
    ]


def test_thousands_of_wrong_markers_are_counted(suite: pytest.Pytester) -> None:
    suite.makepyfile("""
        import pytest

        @pytest.mark.parametrize("n", range(1000))
        @pytest.mark.isolated(pids=0)
        def test_it(n): pass
    """)

    errors = usage_errors(suite)

    assert len(errors) == 21
    assert errors[-1] == "and 980 more wrong values of markers"


@pytest.mark.parametrize(
    ("flag", "line"),
    [
        ("--isolate-memory=lots", "--isolate-memory='lots': not a size; write bytes or "),
        ("--isolate-timeout=0", "--isolate-timeout='0': not a time limit; write seconds above 0"),
        ("--isolate-network=lo", "--isolate-network='lo': unknown; write one of loopback, none, "),
        ("--isolate-rootfs=alpine", "--isolate-rootfs='alpine': unknown; write one of host, mini"),
        ("--isolate-pass-env=A,B", "--isolate-pass-env=['A,B']: 'A,B' is not a variable's name"),
        ("--isolate-writable=gone", "--isolate-writable=['gone']: {path}/gone: No such file or "),
    ],
)
def test_wrong_flag_is_one_line(suite: pytest.Pytester, flag: str, line: str) -> None:
    suite.makepyfile(PLAIN)

    (error,) = usage_errors(suite, flag)

    assert error.startswith(line.format(path=suite.path))


@pytest.mark.parametrize(
    ("ini", "line"),
    [
        ("isolate_memory = lots", "ini isolate_memory='lots': not a size; write bytes or a number"),
        ("isolate_pids = lots", "ini isolate_pids"),
        ("isolate = maybe", "ini isolate: "),
        ("isolate_env = A", "ini isolate_env=['A']: 'A' has no value; write NAME=VALUE"),
        ("isolate_pass_env = A B", "ini isolate_pass_env=['A B']: 'A B' is not a variable's name"),
        ("isolate_rootfs = ./gone", "ini isolate_rootfs='./gone': {path}/gone: No such file or d"),
        ("isolate_unavailable = no", "ini isolate_unavailable='no': unknown; write one of fail, "),
    ],
)
def test_wrong_ini_is_one_line(suite: pytest.Pytester, ini: str, line: str) -> None:
    suite.makeini(f"[pytest]\n{ini}")
    suite.makepyfile(PLAIN)

    (error,) = usage_errors(suite)

    assert error.startswith(line.format(path=suite.path))


@pytest.mark.skipif(not NATIVE_TOML, reason="pytest 8 has no native TOML")
@pytest.mark.parametrize(
    "ini", ["isolate_memory = true", "isolate_env = { A = '1' }", "isolate = 'yes'"]
)
def test_wrong_native_type_is_one_line(suite: pytest.Pytester, ini: str) -> None:
    suite.makepyprojecttoml(f"[tool.pytest]\n{ini}")
    suite.makepyfile(PLAIN)

    (error,) = usage_errors(suite)

    assert error.startswith(f"ini {ini.partition(' =')[0]}: ")


def test_hook_adapts_a_policy_and_isolates_by_rule(
    suite: pytest.Pytester, collect: Collect
) -> None:
    suite.makeconftest(
        """
    def pytest_isolate_policy(item, policy):
        if item.name == "test_plain":
            return policy.replace(enabled=True, memory="2G")
"""
    )

    policies = collect(PLAIN, "--isolate-pids=7")

    plain, other = policies["test_plain"], policies["test_marked"]
    assert plain is not None
    assert other is not None
    assert (plain.memory, plain.pids) == (2048 * MIB, 7)
    assert plain.origin("memory").source is Source.HOOK
    assert (other.memory, other.pids) == (1024 * MIB, 7)


@pytest.mark.parametrize(
    ("result", "line"),
    [
        ("policy.replace(pids=0)", "(pids=0): not a number of processes; write 1 to 4194304"),
        ("policy.replace(pid=1)", "(pid=1): unknown argument; did you mean pids?"),
        ("'host'", ": returned 'host', not a Policy"),
        ("__import__('dataclasses').replace(policy, pids=1)", "(pids=1): write policy.replace(pid"),
    ],
)
def test_wrong_result_of_the_hook_names_the_test(
    suite: pytest.Pytester, result: str, line: str
) -> None:
    suite.makeconftest(f"def pytest_isolate_policy(item, policy): return {result}")
    suite.makepyfile(test_x="def test_a(): pass")

    (error,) = usage_errors(suite)

    assert error.startswith(f"test_x.py::test_a: pytest_isolate_policy{line}")


@pytest.mark.needs("sandbox", "memory")
def test_header_tells_what_was_asked_for(suite: pytest.Pytester) -> None:
    suite.makepyfile("def test_a(): pass")

    asked = suite.runpytest_inprocess("--isolate", "--isolate-memory=100M")
    off = suite.runpytest_inprocess("--isolate", "--no-isolate")

    asked.stdout.fnmatch_lines_random(["isolate: all tests; *memory 100.0 MiB*"])
    off.stdout.fnmatch_lines_random(["isolate: off (--no-isolate)"])


def test_marker_is_documented_with_every_argument(suite: pytest.Pytester) -> None:
    result = suite.runpytest_inprocess("--markers", "--strict-markers")

    (line,) = (line for line in result.outlines if line.startswith("@pytest.mark.isolated("))
    signature, _, text = line.partition("): ")
    for setting in SETTINGS:
        assert (f"{setting.name}=" in signature) is setting.marker
        assert (f"{setting.name} - {setting.help}" in text) is setting.marker


def test_options_page_has_every_name() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "options.md"
    text = page.read_text(encoding="utf-8")

    names = [
        name
        for setting in SETTINGS
        for name in (setting.flag, setting.ini, f"{setting.name}=" if setting.marker else "")
        if name
    ]

    assert [name for name in (*names, "--no-isolate") if f"`{name}" not in text] == []
