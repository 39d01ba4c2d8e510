from __future__ import annotations

import pytest


def test_fixture(subtests):
    for i in range(4):
        with subtests.test("message", i=i, thing=object):
            print("sub", i)
            assert i % 2 == 0


def test_all_pass(subtests):
    with subtests.test(i=1):
        pass


def test_skip_inside(subtests):
    with subtests.test():
        pytest.skip("sub skipped")


def test_fail_outside(subtests):
    with subtests.test():
        assert 0
    assert [1] == [2]
