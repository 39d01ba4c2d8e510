"""A pytest with descriptors above the present limit: nothing can be put there any more."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite


pytestmark = pytest.mark.any_python


@pytest.mark.needs("sandbox")
def test_what_was_opened_before_the_limit_went_down_fails_no_test(suite: Suite) -> None:
    suite.write({
        "it": """
            import os, pytest
            def test_it():
                with pytest.raises(OSError):
                    os.write(200, b"from a test")
        """
    })
    pytest_ = f'"{sys.executable}" -m pytest --isolate -p no:cacheprovider'
    script = f"exec 200>out; ulimit -Sn 100; {pytest_}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=suite.directory, capture_output=True, text=True, check=False
    )

    assert "1 passed" in done.stdout
    assert (suite.directory / "out").read_text(encoding="utf-8") == ""
