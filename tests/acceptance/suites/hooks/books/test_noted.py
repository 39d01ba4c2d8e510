from __future__ import annotations

import os

import pytest


@pytest.fixture
def thing():
    pass


class TestInARow:
    def test_a(self, thing):
        pass

    def test_b(self):
        assert 0

    def test_c(self):
        pass


def test_d():
    if "DIES" in os.environ:
        os.abort()
