"""What is asked for is folded together from its sources, each value checked and remembered."""

from __future__ import annotations

from dataclasses import fields
import re
from typing import TYPE_CHECKING

import pytest

from pytest_isolate.policy.model import Origin
from pytest_isolate.policy.model import Policy
from pytest_isolate.policy.model import PolicyError
from pytest_isolate.policy.model import Source
from pytest_isolate.policy.settings import SETTINGS
from pytest_isolate.policy.settings import Shape
from pytest_isolate.sandbox.spec import DirectoryRoot

if TYPE_CHECKING:
    from pytest_isolate.policy.settings import Setting

INI = Origin(Source.INI)
LINE = Origin(Source.COMMAND_LINE)
MARKER = Origin(Source.MARKER, "test_x.py::test_a")
ORIGINS = (INI, LINE, MARKER, Origin(Source.HOOK))


def test_every_setting_is_a_field_of_the_policy() -> None:
    assert [setting.name for setting in SETTINGS] == [
        field.name for field in fields(Policy) if field.name != "origins"
    ]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_default_that_the_help_tells_is_the_policy_s(setting: Setting) -> None:
    told = re.search(r"\(default (\w+)\)", setting.help)

    default = getattr(Policy(), setting.name)

    if told is None or setting.shape is Shape.LIST:
        assert default in {False, None, ()}
    else:
        assert setting.parse(told[1], "/") == default


def test_later_override_wins_and_is_remembered() -> None:
    policy = Policy()
    for size, origin in enumerate(ORIGINS, 5):
        policy = policy.override(origin, {"memory": f"{size}M"})

        assert policy.memory == size * 1024**2
        assert policy.origin("memory") == origin


def test_override_leaves_other_arguments_alone() -> None:
    policy = Policy().override(INI, {"memory": "5M", "pids": 3}).override(MARKER, {"pids": 4})

    assert (policy.memory, policy.pids, policy.timeout) == (5 * 1024**2, 4, None)
    assert policy.origin("memory") == INI
    assert policy.origin("timeout") == Origin()


def test_only_what_was_written_is_asked_for() -> None:
    policy = Policy().override(MARKER, {"memory": "1G", "timeout": None})

    asked = [setting.name for setting in SETTINGS if policy.asked(setting.name)]

    assert asked == ["memory", "timeout"]


def test_policies_of_equal_words_are_equal_and_hash_alike() -> None:
    one, two = (
        Policy().override(MARKER, {"env": {"A": "1", "B": "2"}, "pass_env": ["X", "Y"]}),
        Policy().override(MARKER, {"pass_env": ("Y", "X"), "env": {"B": "2", "A": "1"}}),
    )

    assert one == two
    assert hash(one) == hash(two)


def test_pass_env_keeps_what_no_test_runs_without() -> None:
    assert Policy().kept is None
    kept = Policy().override(LINE, {"pass_env": ["CI"]}).kept
    assert kept is not None
    assert {"PATH", "PYTHON*", "PYTEST_*", "LC_*", "CI"} <= set(kept)


@pytest.mark.parametrize(
    ("origin", "written", "line"),
    [
        (INI, {"memory": "lots"}, "ini isolate_memory='lots': not a size; "),
        (LINE, {"pass_env": ["A B"]}, "--isolate-pass-env=['A B']: 'A B' is not a variable's name"),
        (
            MARKER,
            {"memory": "lots"},
            "test_x.py::test_a: @pytest.mark.isolated(memory='lots'): not a size; ",
        ),
        (
            MARKER,
            {"memroy": "1G"},
            "test_x.py::test_a: @pytest.mark.isolated(memroy='1G'): unknown argument; did you mean",
        ),
        (MARKER, {"xyzzy": 1}, "(xyzzy=1): unknown argument; known are enabled, memory, timeout, "),
        (MARKER, {"group": "a"}, "(group='a'): an argument of pytest-isolated, another plugin"),
        (MARKER, {"serial": True}, "(serial=True): an argument of pytest-isolated, another plugin"),
        (
            MARKER,
            {"unavailable": "skip"},
            "(unavailable='skip'): not for a marker; write --isolate-unavailable or isolate_unav",
        ),
        (MARKER, {"rootfs": "./a"}, "(rootfs='./a'): './a' is relative, and nothing says to what"),
        (Origin(Source.HOOK), {"pids": 0}, "pytest_isolate_policy(pids=0): not a number of proce"),
    ],
)
def test_wrong_value_is_one_line_naming_its_place(
    origin: Origin, written: dict[str, object], line: str
) -> None:
    with pytest.raises(PolicyError) as caught:
        Policy().override(origin, written)

    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_hook_may_set_what_a_marker_may_not() -> None:
    assert Policy().replace(unavailable="skip").origin("unavailable").source is Source.HOOK


def test_relative_paths_start_at_the_base_of_their_place(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    bases = [tmp_path_factory.mktemp("base") for _ in range(2)]
    for base in bases:
        (base / "sub").mkdir()

    policy = Policy().override(INI, {"rootfs": "./sub"}, str(bases[0]))
    policy = policy.override(LINE, {"writable": ["sub"]}, str(bases[1]))

    assert policy.rootfs == DirectoryRoot(str(bases[0] / "sub"))
    assert policy.writable == (str(bases[1] / "sub"),)
