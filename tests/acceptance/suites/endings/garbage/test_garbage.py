from __future__ import annotations

import gc
import threading

import pytest


class Node:
    def __init__(self):
        self.me = self


async def work():
    pass


class Angry(Node):
    def __del__(self):
        raise ValueError("not collected while the test ran")


def test_file(tmp_path):
    Node().file = open(tmp_path / "x", "w")


def test_never_awaited():
    Node().work = work()


def test_del():
    Angry()


def test_in_a_thread():
    thread = threading.Thread(target=Angry)
    thread.start()
    thread.join()


@pytest.fixture
def angry():
    return Angry()


def test_value_of_a_fixture(angry):
    pass


def test_frame_of_a_failure():
    _angry = Angry()
    assert 0


def test_older_than_a_collection():
    _angry = Angry()
    _many = [[] for _ in range(100_000)]


def test_collector_is_off():
    gc.disable()
    Angry()


def test_collects_itself():
    gc.collect()
    Angry()


def test_looks_around():
    gc.get_objects()
    Angry()


def test_innocent():
    pass
