from __future__ import annotations

import unittest


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.value = 1

    @classmethod
    def tearDownClass(cls):
        cls.value = 2

    def setUp(self):
        print("up")
        self.addCleanup(print, "cleanup")

    def tearDown(self):
        print("down")

    def test_pass(self):
        self.assertEqual(self.value, 1)

    def test_fail(self):
        self.assertEqual({"a": 1}, {"a": 2})

    def test_skip(self):
        self.skipTest("no")

    @unittest.expectedFailure
    def test_expected(self):
        self.fail()

    @unittest.expectedFailure
    def test_unexpected(self):
        pass

    def test_error(self):
        raise OSError(2, "no file")


class BrokenClass(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        raise ValueError("class is broken")

    def test_it(self):
        pass


class Async(unittest.IsolatedAsyncioTestCase):
    async def test_async(self):
        self.assertTrue([])
