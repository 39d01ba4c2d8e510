"""Fixes: what is advised fits the errno and the environment, or nothing is advised."""

from __future__ import annotations

from dataclasses import replace
import errno
from pathlib import Path

import pytest

from pytest_isolate.sandbox import remedies
from pytest_isolate.sandbox.remedies import Environment
from pytest_isolate.sandbox.remedies import Signs

DOCKER = Signs(docker=True, filtered=True)
SIGNS = {
    Environment.PODMAN: Signs(podman=True, filtered=True),
    Environment.KUBERNETES: replace(DOCKER, variables=frozenset({"KUBERNETES_SERVICE_HOST"})),
    Environment.GITHUB_CONTAINER: replace(DOCKER, variables=frozenset({"GITHUB_ACTIONS"})),
    Environment.GITLAB: replace(DOCKER, variables=frozenset({"GITLAB_CI"})),
    Environment.DOCKER: DOCKER,
    Environment.LIMIT: Signs(limit="0"),
    Environment.APPARMOR: Signs(variables=frozenset({"GITHUB_ACTIONS"}), apparmor="1", limit="9"),
    Environment.CLONE: Signs(clone="0"),
    Environment.CHROOT: Signs(chroot=True),
    Environment.SECCOMP: Signs(filtered=True),
    Environment.FAKED: Signs(docker=True, filtered=True, faked="fakeroot"),
    Environment.PLAIN: Signs(clone="1", apparmor="0", limit="15000"),
}
REFUSALS = (errno.EPERM, errno.EACCES, errno.ENOSYS)


@pytest.mark.parametrize("environment", Environment)
def test_environment_is_told_by_its_signs(environment: Environment) -> None:
    assert SIGNS[environment].environment() is environment


@pytest.mark.parametrize("code", REFUSALS)
@pytest.mark.parametrize("environment", remedies.FOR_NAMESPACES)
def test_refusal_is_fixed_as_its_environment_needs(environment: Environment, code: int) -> None:
    assert remedies.for_namespaces(code, SIGNS[environment]) == remedies.FOR_NAMESPACES[environment]


def test_exhausted_namespaces_are_fixed_by_their_limit() -> None:
    fix = "sudo sysctl -w user.max_user_namespaces=15000"

    assert remedies.for_namespaces(errno.ENOSPC, Signs()) == fix
    assert remedies.for_namespaces(errno.ENOSPC, DOCKER) == f"on the container's host: {fix}"


def test_kernel_s_own_refusal_in_an_unfiltered_container_is_fixed_on_the_machine() -> None:
    signs = Signs(docker=True, apparmor="1")

    assert "apparmor_restrict" in remedies.for_namespaces(errno.EACCES, signs)


def test_proc_that_takes_no_id_maps_is_told_from_a_refusal() -> None:
    assert "nest one less deep" in remedies.for_namespaces(errno.EROFS, DOCKER)


def test_process_that_nothing_pretends_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "libjemalloc.so")

    assert remedies.pretended() is None


def test_unknown_errors_have_no_fix() -> None:
    assert remedies.for_namespaces(errno.EIO, DOCKER) == ""
    assert remedies.for_namespaces(0, DOCKER) == ""
    assert remedies.for_namespaces(errno.EPERM, SIGNS[Environment.PLAIN]) == ""


def test_group_of_another_is_fixed_as_its_machine_can() -> None:
    machine = Signs(systemd=True)
    fixed = [
        remedies.for_delegation("v2", "/sys/fs/cgroup/x", signs)
        for signs in (machine, replace(machine, uid=7, manager=True), replace(machine, uid=7))
    ]

    assert fixed == [
        "systemd-run --scope -p Delegate=yes pytest ...",
        "systemd-run --user --scope -p Delegate=yes pytest ...",
        "sudo systemctl start user@$(id -u).service",
    ]


def test_group_of_another_is_given_away_by_root_where_systemd_cannot() -> None:
    give = (
        "mkdir /sys/fs/cgroup/{0}uid7; chown -R 7 /sys/fs/cgroup/{0}uid7;"
        " echo PID > /sys/fs/cgroup/{0}uid7/cgroup.procs"
    )
    told = "as root, with the shell's PID: "

    assert remedies.for_delegation("v1", "/sys/fs/cgroup/x", Signs(uid=7, systemd=True)) == (
        told + give.format("x/")
    )
    assert remedies.for_delegation("v2", "/proc/self/fd/9", Signs(uid=7)) == (
        f"{told}echo +memory +pids +cpu > /sys/fs/cgroup/cgroup.subtree_control;"
        f" {give.format('')}; then in the shell: exec pytest ..."
    )


@pytest.mark.parametrize("environment", remedies.FOR_CGROUPS)
def test_container_s_cgroups_are_its_root_s(environment: Environment) -> None:
    signs = replace(SIGNS[environment], uid=7)
    fix = f"as root in the container: {remedies.FOR_CGROUPS[environment]}"

    assert remedies.for_cgroups(signs) == fix
    assert remedies.for_delegation("v2", "/sys/fs/cgroup", signs) == fix


def test_strangers_are_left_by_a_scope_or_moved_by_their_owner_or_never_started() -> None:
    first = "make pytest the container's first process: exec pytest ..."

    assert remedies.for_strangers("/sys/fs/cgroup", Signs(systemd=True)) == (
        "give pytest a cgroup of its own: systemd-run --scope -p Delegate=yes pytest ..."
    )
    assert remedies.for_strangers("/proc/self/fd/9", DOCKER) == first
    assert remedies.for_strangers("/sys/fs/cgroup/x", DOCKER).startswith(
        f"{first}, or move the others away: g=/sys/fs/cgroup/x; mkdir $g/others $g/tests; "
    )


def test_read_only_cgroups_are_fixed_in_containers_only() -> None:
    for environment, fix in remedies.FOR_CGROUPS.items():
        assert remedies.for_cgroups(SIGNS[environment]) == fix
    assert remedies.for_cgroups(Signs()) == ""


def test_masked_proc_is_fixed_in_containers_only() -> None:
    for environment, fix in remedies.FOR_PROC.items():
        assert remedies.for_proc(errno.EPERM, SIGNS[environment]) == fix
    assert remedies.for_proc(errno.EPERM, Signs()) == ""


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO])
@pytest.mark.parametrize("environment", Environment)
def test_what_runs_out_or_breaks_is_no_refusal(environment: Environment, code: int) -> None:
    signs = SIGNS[environment]

    assert remedies.for_proc(code, signs) == ""
    assert remedies.for_hostname(code, signs) == ""
    assert remedies.for_namespaces(code, signs) == ""


def test_every_fix_stands_in_the_documentation() -> None:
    page = Path(__file__).parents[3].joinpath("docs/how-to/run-in-ci-and-containers.md")
    text = page.read_text(encoding="utf-8")
    tables = (
        remedies.FOR_NAMESPACES,
        remedies.FOR_PROC,
        remedies.FOR_HOSTNAME,
        remedies.FOR_CGROUPS,
    )
    runner = remedies.for_delegation("v2", "", Signs(uid=7, systemd=True))

    shell = remedies.for_strangers("/sys/fs/cgroup", DOCKER).partition(" away: ")[2]
    shell = shell.removesuffix("exec pytest ...")

    for step in shell.removesuffix("; ").split("; "):
        assert step in text
    for fix in (runner, *(fix for table in tables for fix in table.values())):
        for alternative in fix.split(", or "):
            assert alternative in text
