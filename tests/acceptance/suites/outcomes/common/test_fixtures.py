from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def session():
    yield "s"


@pytest.fixture(params=[1, 2])
def number(request, session):
    print("number", request.param)
    yield request.param


@pytest.fixture
def broken():
    print("before")
    raise ValueError("broken")


@pytest.fixture
def broken_later():
    yield 1
    print("after")
    raise ValueError("broken later")


@pytest.fixture
def broken_later_too():
    yield 1
    raise KeyError("broken later too")


@pytest.fixture(autouse=True)
def order():
    print("order")


def test_parameters(number):
    assert number == 1


def test_setup_error(broken):
    pass


def test_teardown_error(broken_later):
    print("in the test")


def test_sees_its_report(sees_its_report):
    pass


def test_two_teardown_errors(broken_later, broken_later_too):
    pass


def test_failure_and_teardown_error(broken_later):
    assert 0


def test_no_such_fixture(nothing_of_that_name):
    pass


class TestClass:
    @pytest.fixture
    def own(self):
        return self

    def setup_method(self, method):
        print("setup", method.__name__)

    def teardown_method(self):
        print("teardown")

    @classmethod
    def setup_class(cls):
        cls.value = 1

    def test_method(self, own):
        assert type(own) is type(self)


@pytest.mark.parametrize("text", ["", "\udc80", "\x00", "é", "a/b"])
def test_texts(text, request):
    print(ascii(text))
    assert ascii(text) == "nothing"
