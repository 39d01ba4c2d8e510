from __future__ import annotations

from pytest_isolate.child import ending

ending.LIMIT_SECONDS = 1.0
