"""Mends: what is advised fits the errno and the environment, or nothing is advised."""

from __future__ import annotations

from dataclasses import replace
import errno
from pathlib import Path

import pytest

from pytest_isolate.sandbox import mends
from pytest_isolate.sandbox.mends import Environment
from pytest_isolate.sandbox.mends import Signs

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
    Environment.PLAIN: Signs(clone="1", apparmor="0", limit="15000"),
}
REFUSALS = (errno.EPERM, errno.EACCES, errno.ENOSYS)


@pytest.mark.parametrize("environment", Environment)
def test_environment_is_told_by_its_signs(environment: Environment) -> None:
    assert SIGNS[environment].environment() is environment


@pytest.mark.parametrize("code", REFUSALS)
@pytest.mark.parametrize("environment", mends.FOR_NAMESPACES)
def test_refusal_is_mended_as_its_environment_needs(environment: Environment, code: int) -> None:
    assert mends.for_namespaces(code, SIGNS[environment]) == mends.FOR_NAMESPACES[environment]


def test_exhausted_namespaces_are_mended_by_their_limit() -> None:
    mend = "sudo sysctl -w user.max_user_namespaces=15000"

    assert mends.for_namespaces(errno.ENOSPC, Signs()) == mend
    assert mends.for_namespaces(errno.ENOSPC, DOCKER) == f"on the container's host: {mend}"


def test_kernel_s_own_refusal_in_an_unfiltered_container_is_mended_on_the_machine() -> None:
    signs = Signs(docker=True, apparmor="1")

    assert "apparmor_restrict" in mends.for_namespaces(errno.EACCES, signs)


def test_unknown_errors_have_no_mend() -> None:
    assert mends.for_namespaces(errno.EIO, DOCKER) == ""
    assert mends.for_namespaces(0, DOCKER) == ""
    assert mends.for_namespaces(errno.EPERM, SIGNS[Environment.PLAIN]) == ""


def test_read_only_cgroups_are_mended_in_containers_only() -> None:
    for environment, mend in mends.FOR_CGROUPS.items():
        assert mends.for_cgroups(SIGNS[environment]) == mend
    assert mends.for_cgroups(Signs()) == ""


def test_masked_proc_is_mended_in_containers_only() -> None:
    for environment, mend in mends.FOR_PROC.items():
        assert mends.for_proc(SIGNS[environment]) == mend
    assert mends.for_proc(Signs()) == ""


def test_every_mend_stands_in_the_documentation() -> None:
    page = Path(__file__).parents[2].joinpath("docs/how-to/run-in-ci-and-containers.md")
    text = page.read_text(encoding="utf-8")
    tables = (mends.FOR_NAMESPACES, mends.FOR_PROC, mends.FOR_HOSTNAME, mends.FOR_CGROUPS)

    for mend in (mend for table in tables for mend in table.values()):
        for alternative in mend.split(", or "):
            assert alternative in text
