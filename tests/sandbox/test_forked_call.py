"""What a forked child returns or raises is the caller's; one that says nothing is no hang."""

from __future__ import annotations

import errno
import os
import signal

import pytest

from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.features import Part
from pytest_isolate.sandbox.forked_call import NoAnswerError
from pytest_isolate.sandbox.forked_call import forked_call


def test_value_of_another_process_is_returned() -> None:
    pid, words = forked_call(lambda: [os.getpid(), "x" * (1 << 20)])

    assert pid != os.getpid()
    assert words == "x" * (1 << 20)
    assert forked_call(lambda: None) is None


def test_sandbox_error_comes_whole() -> None:
    error = SandboxError("enter root", "no", "ask again", code=errno.EPERM, part=Part.MNT)

    def refuse() -> None:
        raise error

    with pytest.raises(SandboxError) as caught:
        forked_call(refuse)

    assert str(caught.value) == "enter root: no (ask again)"
    assert (caught.value.code, caught.value.part) == (errno.EPERM, Part.MNT)


def test_error_of_a_system_call_is_a_sandbox_error() -> None:
    with pytest.raises(SandboxError) as caught:
        forked_call(lambda: os.rmdir("/proc/none"))

    assert (caught.value.why, caught.value.code) == ("No such file or directory", errno.ENOENT)


def test_child_that_says_nothing_is_told_by_its_status() -> None:
    with pytest.raises(NoAnswerError) as killed:
        forked_call(lambda: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(NoAnswerError) as failed:
        forked_call(lambda: object)  # no value of JSON

    assert killed.value.status == signal.SIGKILL
    assert os.waitstatus_to_exitcode(failed.value.status or 0) == 1
