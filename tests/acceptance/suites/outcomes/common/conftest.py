from __future__ import annotations

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    report.extra_attribute = [item.name, call.when]
    setattr(item, "report_" + report.when, report)
    return report


@pytest.fixture
def sees_its_report(request):
    yield
    assert request.node.report_call.passed


@pytest.fixture(autouse=True)
def current(request):
    yield
