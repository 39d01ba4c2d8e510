"""Control groups: caps on a sandbox's memory, processes and CPU, and what they counted.

One process, the keeper, opens them for a run and makes a group for each sandbox, under the group
that it finds itself in: outer limits keep holding. Each controller may be on version 1 or 2.
"""

from __future__ import annotations

from pytest_isolate.sandbox.cgroups.counters import read_evidence
from pytest_isolate.sandbox.cgroups.discovery import open_cgroups
from pytest_isolate.sandbox.cgroups.group import Cgroups
from pytest_isolate.sandbox.cgroups.group import Group

__all__ = ["Cgroups", "Group", "open_cgroups", "read_evidence"]
