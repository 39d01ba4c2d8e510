"""Mends: what is advised fits the errno, and nothing is advised where nothing is known to help."""

from __future__ import annotations

import errno

from pytest_isolate.sandbox import mends


def test_exhausted_namespaces_are_mended_by_their_limit() -> None:
    assert "user.max_user_namespaces" in mends.for_namespaces(errno.ENOSPC)


def test_unknown_errors_have_no_mend() -> None:
    assert mends.for_namespaces(errno.EIO) == ""
    assert mends.for_namespaces(0) == ""
