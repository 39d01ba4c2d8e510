from __future__ import annotations

import threading
import warnings

import pytest


class Own(UserWarning):
    def __init__(self, a, *, b):
        super().__init__(f"{a} and {b}")
        self.a = a

    def __str__(self):
        return f"own: {self.a}"


def test_user():
    warnings.warn("careful")


def test_own():
    warnings.warn(Own(1, b=2))


def test_local():
    class Local(DeprecationWarning):
        pass

    warnings.warn("local", Local)


def test_args():
    warnings.warn(UserWarning("a", 1, None))


def test_resource():
    warnings.warn(ResourceWarning("leak"), source=object())


@pytest.mark.filterwarnings("error")
def test_error():
    warnings.warn("as error")


@pytest.mark.filterwarnings("ignore:careful")
def test_ignored():
    warnings.warn("careful")


def test_recwarn(recwarn):
    warnings.warn("seen")
    assert len(recwarn) == 1


def test_warns():
    with pytest.warns(UserWarning, match="other"):
        warnings.warn("this")


def test_thread():
    thread = threading.Thread(target=lambda: 1 / 0, name="own")
    thread.start()
    thread.join()


def test_unraisable():
    class Bad:
        def __del__(self):
            raise ValueError("in del")

    Bad()
