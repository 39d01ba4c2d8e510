from __future__ import annotations

SOURCE = "import pytest\ndef test_pass(): pass\ndef test_fail(): assert 0"


def test_in_process(pytester):
    pytester.makepyfile(SOURCE)
    pytester.runpytest_inprocess().assert_outcomes(passed=1, failed=1)


def test_subprocess(pytester):
    pytester.makepyfile(SOURCE)
    pytester.runpytest_subprocess().assert_outcomes(passed=1, failed=1)


def test_isolated_within(pytester):
    pytester.makepyfile("import pytest\n@pytest.mark.isolated\ndef test_a(): pass")
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_failure(pytester):
    assert pytester.makepyfile(SOURCE).name == "other"
