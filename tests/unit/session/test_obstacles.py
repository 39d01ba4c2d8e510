from __future__ import annotations

from dataclasses import replace
import errno
import os
from typing import TYPE_CHECKING

import pytest

from pytest_isolate.sandbox.features import Capabilities
from pytest_isolate.sandbox.features import Capability
from pytest_isolate.sandbox.features import Part
from pytest_isolate.sandbox.shortfalls import Form
from pytest_isolate.sandbox.shortfalls import Shortfall
from pytest_isolate.session.obstacles import Obstacles
from pytest_isolate.session.obstacles import beyond

if TYPE_CHECKING:
    from pathlib import Path

TRIAL = Shortfall(
    form=Form.READ_ONLY,
    part=Part.OVERLAY,
    where=("/data",),
    refused="overlay",
    code=errno.EINVAL,
)
PROJECT = replace(TRIAL, where=("/data", "/tmp/project"))
OLD_KERNEL = Shortfall(
    form=Form.LASTING_DIRECTORIES,
    part=Part.OVERLAY,
    where=("of the host",),
    refused="attributes",
    code=errno.EOPNOTSUPP,
)
OVERFLOW = os.strerror(errno.EOVERFLOW)


def machine(*, how: str = "all ids") -> Capabilities:
    return Capabilities(
        Capability(name="userns", available=True, how=how),
        Capability(name="overlay", available=True, lacks=f"{TRIAL}; {OLD_KERNEL}"),
    )


def failed(text: str, printed: str = "") -> pytest.TestReport:
    return pytest.TestReport(
        "test_x.py::test",
        ("test_x.py", 1, "test"),
        {},
        "failed",
        text,
        "call",
        sections=[("Captured stderr call", printed)] if printed else [],
    )


def test_the_header_tells_of_a_sandbox_what_the_trial_did_not() -> None:
    assert beyond((TRIAL, OLD_KERNEL), machine()) == ""
    assert beyond((PROJECT, OLD_KERNEL), machine()) == f"isolate: {PROJECT}"


def test_a_failed_test_is_told_what_is_read_only_and_nothing_else() -> None:
    report = failed("assert 0")

    Obstacles.of((PROJECT, OLD_KERNEL), machine(), ()).tell(report)

    (section,) = report.sections
    assert section == (
        "Isolation",
        f"{PROJECT}: what `writable` names is written through to the host.",
    )


@pytest.mark.parametrize(
    "report", [failed(f"OSError: [Errno 75] {OVERFLOW}"), failed("", f"touch: x: {OVERFLOW}")]
)
def test_an_id_that_does_not_exist_is_explained_to_the_test_and_its_programs(
    report: pytest.TestReport,
) -> None:
    before = len(report.sections)

    Obstacles.of((), machine(), ()).tell(report)
    assert len(report.sections) == before

    Obstacles.of((), machine(how="one id"), ()).tell(report)
    assert report.sections[-1][0] == "Isolation"
    assert 'sg GROUP -c "pytest ..."' in report.sections[-1][1]


def test_the_projects_group_is_named(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("needs root to give a directory to another group")
    os.chown(tmp_path, -1, 424242)
    report = failed(OVERFLOW)

    Obstacles.of((), machine(how="one id"), (str(tmp_path / "gone"), str(tmp_path))).tell(report)

    assert 'sg 424242 -c "pytest ..."' in report.sections[-1][1]
