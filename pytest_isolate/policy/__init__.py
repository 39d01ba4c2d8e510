"""What is asked of a sandbox, and what the machine makes of it: pure, and without pytest."""

from __future__ import annotations

from pytest_isolate.policy.model import Policy
from pytest_isolate.policy.model import PolicyError

__all__ = ["Policy", "PolicyError"]
