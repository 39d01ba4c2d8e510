"""What runs in the laboratory: containers and kernels that refuse, for minutes.

ISOLATE_TEST_LAB says that this is it; ISOLATE_TEST_CONFINE and ISOLATE_TEST_VMLAB are the paths of
`confine`, for containers, and `vmlab`, for machines.
"""

from __future__ import annotations

import os

# In the environment that is there for them, what is missing is a failure.
collect_ignore_glob = [] if "ISOLATE_TEST_LAB" in os.environ else ["test_*.py"]
