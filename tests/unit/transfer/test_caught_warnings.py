"""A warning arrives, whatever its class, and no code of the test's runs for it."""

from __future__ import annotations

import json
import sys
import types
from typing import Any
import warnings

import pytest

from pytest_isolate.transfer import caught_warnings
from pytest_isolate.wire.frames import Warned


class Particular(UserWarning):
    made = 0

    def __init__(self, a: int, *, b: int) -> None:
        super().__init__(a)
        type(self).made += 1
        self.b = b

    def __str__(self) -> str:
        return f"b is {self.b}"


class Unprintable(UserWarning):
    def __str__(self) -> str:
        raise ValueError


def cross(message: Warning, source: object = None) -> dict[str, Any]:
    recorded = warnings.WarningMessage(
        message, type(message), "file.py", 7, line="the line", source=source
    )
    frame = caught_warnings.pack(recorded, when="runtest", nodeid="a::b", location=("x.py", 1, "f"))
    fields = json.loads(json.dumps(frame.warning))
    return caught_warnings.unpack(Warned(fields, frame.when, frame.nodeid, frame.location))


def test_arguments_of_the_hook_arrive() -> None:
    arguments = cross(UserWarning("careful", 1, None))

    message = arguments.pop("warning_message")
    assert arguments == {"when": "runtest", "nodeid": "a::b", "location": ("x.py", 1, "f")}
    assert message.message.args == ("careful", 1, None)
    assert message.category is UserWarning
    assert (message.filename, message.lineno, message.line) == ("file.py", 7, "the line")


def test_class_with_an_own_constructor_arrives_without_calling_it() -> None:
    original = Particular(1, b=2)
    before = Particular.made

    message = cross(original)["warning_message"].message

    assert isinstance(message, Particular)
    assert str(message) == "b is 2"
    assert Particular.made == before


def test_class_that_only_the_test_knows_arrives_by_name() -> None:
    class Local(DeprecationWarning):
        pass

    message = cross(Local("x"))["warning_message"]

    assert message.category.__name__ == "Local"
    assert issubclass(message.category, DeprecationWarning)
    assert (str(message.message), isinstance(message.message, DeprecationWarning)) == ("x", True)


def test_no_module_is_imported_for_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("only_in_the_test")
    monkeypatch.setitem(sys.modules, "only_in_the_test", module)
    kind = type("Foreign", (FutureWarning,), {"__module__": "only_in_the_test"})
    recorded = warnings.WarningMessage(kind("x"), kind, "file.py", 1)
    frame = caught_warnings.pack(recorded, when="runtest", nodeid="", location=None)
    monkeypatch.delitem(sys.modules, "only_in_the_test")

    arguments = caught_warnings.unpack(frame)

    assert arguments["warning_message"].category.__name__ == "Foreign"
    assert "only_in_the_test" not in sys.modules


def test_warning_that_cannot_be_printed_arrives() -> None:
    message = cross(Unprintable("x"))["warning_message"].message

    assert str(message) == "<Unprintable: str raised ValueError>"


def test_leaking_object_is_told_of() -> None:
    assert cross(ResourceWarning("leak"), source=object())["warning_message"].source is not None
    assert cross(ResourceWarning("leak"))["warning_message"].source is None


@pytest.mark.parametrize("warning", [{}, {"classes": 1}, {"classes": [["a"]]}])
def test_nonsense_is_no_warning(warning: dict[str, Any]) -> None:
    with pytest.raises((LookupError, TypeError, ValueError)):
        caught_warnings.unpack(Warned(warning, "runtest", "", None))
