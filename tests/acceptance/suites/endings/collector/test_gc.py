from __future__ import annotations

import gc
from gc import get_referrers
import weakref


class Node:
    def __init__(self):
        self.me = self


VALUE = Node()
HOLDERS = [VALUE]
CYCLES = [Node() for _ in range(3)]


def test_objects_of_the_import_are_shown():
    assert any(one is VALUE for one in gc.get_objects())


def test_their_referrers_are_shown():
    assert any(one is HOLDERS for one in gc.get_referrers(VALUE))


def test_function_that_was_imported_shows_them():
    assert any(one is HOLDERS for one in get_referrers(VALUE))


def test_they_are_collected():
    ref = weakref.ref(CYCLES.pop())
    assert ref() is not None
    gc.collect()
    assert ref() is None


def test_nothing_is_frozen():
    assert gc.get_freeze_count() < 1000  # Python 3.12 freezes some at its start
    assert gc.isenabled()


def test_what_a_test_freezes_is_not_collected():
    node = Node()
    ref = weakref.ref(node)
    gc.freeze()
    assert gc.get_freeze_count() > 1000
    del node
    gc.collect()
    assert ref() is not None
    gc.unfreeze()
    assert gc.get_freeze_count() == 0
    gc.collect()
    assert ref() is None
