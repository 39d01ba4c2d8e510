from __future__ import annotations

import unittest

import pytest


def test_skip():
    pytest.skip("in the body")


@pytest.mark.skip(reason="by mark")
def test_mark():
    pass


@pytest.mark.skipif("1 == 1", reason="by condition")
def test_condition():
    pass


@pytest.mark.skipif("no_such_name")
def test_bad_condition():
    pass


def test_unittest_skip():
    raise unittest.SkipTest("as unittest does")


def test_importorskip():
    pytest.importorskip("no_such_module")


@pytest.fixture
def skipping():
    pytest.skip("in a fixture")


def test_skip_in_setup(skipping):
    pass
