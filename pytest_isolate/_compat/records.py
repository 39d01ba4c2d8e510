"""Where things are written down: pytest's own attributes, and what tests record.

`session_state` carries over what a test records.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING
from typing import Any
from typing import Final

from _pytest.junitxml import xml_key

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    import pytest

#: Attributes of nodes, the session and the config that are pytest's own.
OWN_ATTRIBUTES: Final = frozenset({
    *("_bestrelpathcache", "_collection_cache", "_fixturemanager", "_initial_parts"),
    *("_initialpaths", "_initialpaths_with_parents", "_notfound", "_setupstate", "_shouldfail"),
    *("_shouldstop", "exitstatus", "items", "shouldfail", "shouldstop", "testscollected"),
    *("testsfailed", "trace", "_obj", "_store", "extra_keyword_matches", "keywords"),
    *("own_markers", "_fixtureinfo", "_instance", "_report_sections", "_request", "callspec"),
    *("fixturenames", "funcargs", "location", "originalname", "user_properties", "_testcase"),
    *("_cleanup", "_cleanup_stack", "_configured", "_inicache", "_inicfg", "_inipath"),
    *("_ignored_config_files", "_parser", "_rootpath", "_tmp_path_factory", "_tmpdirhandler"),
    *("args", "args_source", "cache", "hook", "invocation_params", "known_args_namespace"),
    *("option", "pluginmanager", "obj", "parent", "session", "config", "name", "path", "runner"),
    *("dtest", "_nodeid", "_id", "_explicit_tearDown", "stash"),
})


def stashed(stash: pytest.Stash) -> dict[Any, object]:
    """Return the entries of *stash*, as they are."""
    return stash._storage


def testsuite_properties(config: pytest.Config) -> list[tuple[str, str]]:
    """Return the list that the fixture `record_testsuite_property` appends to."""
    xml = config.stash.get(xml_key, None)
    return [] if xml is None else xml.global_properties


def writes_junit(config: pytest.Config) -> bool:
    """Return whether this process writes a file of junitxml."""
    return xml_key in config.stash


def xml_attributes(item: pytest.Item) -> dict[str, str]:
    """Return the mapping that the fixture `record_xml_attribute` writes to."""
    xml = item.config.stash.get(xml_key, None)
    return {} if xml is None else xml.node_reporter(item.nodeid).attrs


def failed_subtests(config: pytest.Config) -> MutableMapping[Any, int]:
    """Return how many subtests have failed, by their test; pytest has no subtests before 9."""
    subtests = sys.modules.get("_pytest.subtests")
    return {} if subtests is None else config.stash.get(subtests.failed_subtests_key, {})


def subtests_name(item: pytest.Item) -> object:
    """Return the key of *item* in `failed_subtests`."""
    return getattr(item, "id", item.nodeid)
