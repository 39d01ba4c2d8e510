from __future__ import annotations

import unittest


class Parts(unittest.TestCase):
    def test_parts(self):
        for i in range(3):
            with self.subTest("message", i=i):
                print("part", i)
                self.assertNotEqual(i, 3)
        self.fail("whole")

    def test_skipped_part(self):
        with self.subTest(i=1):
            self.skipTest("part")
