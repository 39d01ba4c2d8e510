"""Whoever cannot have a cap is told why in a few words, and what to do in one line."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from pytest_isolate.sandbox.cgroups import refusals

if TYPE_CHECKING:
    from pytest_isolate.sandbox.errors import SandboxError


PATH = "/sys/fs/cgroup/x"


def refused(code: int, version: str = "v2") -> SandboxError:
    error = OSError(code, f"mkdir: {os.strerror(code)}", f"{PATH}/pytest-isolate.1")
    return refusals.refused("memory", error, version, PATH)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (errno.EACCES, "no writable memory cgroup"),
        (errno.EPERM, "no writable memory cgroup"),
        (errno.EROFS, "memory cgroup is mounted read-only"),
        (errno.ENOSPC, f"mkdir {PATH}/pytest-isolate.1: No space left on device"),
    ],
)
def test_refusal_says_why_in_a_few_words(code: int, why: str) -> None:
    error = refused(code)

    assert (error.why, error.code) == (why, code)


def test_strangers_are_named() -> None:
    error = refusals.shared(PATH, ["sh (7)", "make (8)"])

    assert (error.why, error.code) == ("cgroup shared with sh (7), make (8)", errno.EBUSY)


def test_many_strangers_are_not_all_named() -> None:
    assert refusals.shared(PATH, list("abcdef")).why == "cgroup shared with a, b, c, ..."


def test_reasons_and_fixes_are_one_line() -> None:
    for error in (
        refusals.no_controller("memory"),
        refusals.not_mounted("memory", "v1"),
        refusals.not_visible("memory", "/../x", PATH),
        refusals.not_delegated("cpu", "/", exists=True),
        refusals.shared(PATH, ["sh (7)"]),
        refused(errno.EACCES),
        refused(errno.EACCES, "v1"),
    ):
        assert "\n" not in str(error)
        assert error.fix
