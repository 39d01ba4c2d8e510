"""The report header tells what is in force, in the words that its readers search for."""

from __future__ import annotations

from dataclasses import replace
import errno
from typing import TYPE_CHECKING

import pytest

from pytest_isolate.policy.model import Origin
from pytest_isolate.policy.model import Policy
from pytest_isolate.policy.model import Source
from pytest_isolate.policy.resolution import resolve
from pytest_isolate.reporting.header import header
from pytest_isolate.reporting.header import requests
from pytest_isolate.sandbox.features import CONTROLLERS
from pytest_isolate.sandbox.features import NAMESPACES
from pytest_isolate.sandbox.features import OTHERS
from pytest_isolate.sandbox.features import ROOT_STEPS
from pytest_isolate.sandbox.features import Capabilities
from pytest_isolate.sandbox.features import Capability

if TYPE_CHECKING:
    from pathlib import Path

ALL = Policy().override(Origin(Source.COMMAND_LINE), {"enabled": True})
PARTS = "userns+mnt+pid+uts+ipc+net+cgroup; root overlay"


def machine(*lacking: str, how: str = "cgroup v2") -> Capabilities:
    names = (*NAMESPACES, *ROOT_STEPS, *OTHERS)
    parts = [
        Capability(name=n, available=n not in lacking, how="ABI 7" if n == "landlock" else "")
        for n in names
    ]
    caps = [
        Capability(name=name, available=name not in lacking, how="" if name in lacking else how)
        for name in CONTROLLERS
    ]
    return Capabilities(*parts, *caps)


def on(capabilities: Capabilities, policy: Policy) -> str:
    return header(policy, resolve(policy, capabilities), capabilities)


def line(policy: Policy, **written: object) -> str:
    return on(machine(), policy.override(Origin(Source.COMMAND_LINE), written))


def test_all_tests_of_a_default_run() -> None:
    assert line(ALL) == f"isolate: all tests; {PARTS}; memory 1.0 GiB (cgroup v2)"


def test_marked_tests_of_a_default_run() -> None:
    assert line(Policy()) == f"isolate: marked tests; {PARTS}; memory 1.0 GiB (cgroup v2)"


def test_default_caps_that_were_dropped_are_named() -> None:
    assert on(machine(*CONTROLLERS), ALL) == (
        f"isolate: all tests; {PARTS}; memory cap none (no writable memory cgroup);"
        " pids cap none (no writable pids cgroup)"
    )


def test_degraded_cap_is_named() -> None:
    policy = ALL.override(Origin(Source.INI), {"unavailable": "degrade", "memory": "5M"})

    assert on(machine("memory"), policy) == (
        f"isolate: all tests; {PARTS}; memory cap: watched, 5.0 MiB (no writable memory cgroup);"
        " unavailable degrade"
    )


def test_cap_that_is_switched_off_says_by_whom() -> None:
    assert line(ALL, memory="none", timeout="none") == (
        f"isolate: all tests; {PARTS}; memory cap none (--isolate-memory);"
        " timeout none (--isolate-timeout)"
    )


def test_each_setting_that_was_asked_for_is_named(tmp_path: Path) -> None:
    told = line(
        ALL,
        memory="100M",
        timeout=10,
        pids=64,
        cpus=1.5,
        network="none",
        hostname="box",
        pass_env=["CI", "PIP_*"],
        writable=[tmp_path],
        user="root",
        unavailable="skip",
    )

    assert told == (
        f"isolate: all tests; {PARTS}; memory 100.0 MiB (cgroup v2); timeout 10 s;"
        " pids 64 (cgroup v2); cpus 1.5 (cgroup v2); network none; hostname box;"
        f" pass_env CI PIP_*; writable {tmp_path}; user root; unavailable skip"
    )


def test_values_of_variables_are_not_told() -> None:
    told = line(ALL, env={"TOKEN": "secret", "A": "1"})

    assert told.endswith("; env A TOKEN")


def test_empty_lists_are_told() -> None:
    assert line(ALL, pass_env=[], env={}).endswith("; env none; pass_env none")


def test_host_network_is_no_namespace() -> None:
    assert line(ALL, network="host") == (
        "isolate: all tests; userns+mnt+pid+uts+ipc+cgroup; root overlay;"
        " memory 1.0 GiB (cgroup v2); network host"
    )


def test_other_roots_are_named(tmp_path: Path) -> None:
    assert "; root minimal; memory" in line(ALL, rootfs="minimal")
    assert f"; root {tmp_path} (overlay); memory" in line(ALL, rootfs=tmp_path)


@pytest.mark.parametrize("recourse", ["fail", "skip"])
def test_sandbox_that_cannot_be_had_is_told_with_its_reason(recourse: str) -> None:
    policy = ALL.override(Origin(Source.INI), {"unavailable": recourse})
    refused = Capability(
        name="userns", available=False, why="unshare: refused", fix="fix it", code=errno.EPERM
    )

    assert on(Capabilities(refused), policy) == (
        f"isolate: all tests; not to be had ({recourse}):"
        " a sandbox's userns: unshare: refused (fix it)\n"
        "  userns  no       unshare: refused (EPERM)\n"
        "                   fix: fix it"
    )


def test_degraded_run_without_a_whole_sandbox_says_so() -> None:
    policy = ALL.override(Origin(Source.INI), {"unavailable": "degrade"})

    assert on(machine("mnt"), policy) == (
        "isolate: all tests; partial (no mnt); Landlock (ABI 7); memory 1.0 GiB (cgroup v2);"
        " network host (no net); hostname kept (no hostname); unavailable degrade"
    )


def test_root_that_is_less_than_it_should_be_is_told() -> None:
    found = dict(machine())
    found["proc"] = replace(found["proc"], lacks="the host's processes: /proc")

    told = on(Capabilities(*found.values()), ALL)

    assert "; root overlay; the host's processes: /proc; memory" in told


def test_before_the_machine_is_asked_only_requests_are_told() -> None:
    asked = Policy().override(Origin(Source.INI), {"memory": "100M", "rootfs": "host"})

    assert requests(Policy()) == "isolate: marked tests"
    assert requests(asked) == "isolate: marked tests; memory 100.0 MiB; rootfs host"
