from __future__ import annotations

value = 0


def setup_module(module):
    module.value = 1


def teardown_module():
    pass


def setup_function(function):
    print("function up", function.__name__)


def teardown_function():
    print("function down")


def test_value():
    assert value == 1


def test_fails():
    assert value == 2


class TestXunit:
    @classmethod
    def setup_class(cls):
        cls.own = value

    @classmethod
    def teardown_class(cls):
        del cls.own

    def setup_method(self):
        print("method up")

    def test_method(self):
        assert value == 3
