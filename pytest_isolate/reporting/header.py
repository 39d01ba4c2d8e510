"""The report header's line: what is in force for this run, in facts. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Final
from typing import assert_never

from pytest_isolate.policy.resolution import WISHES
from pytest_isolate.policy.resolution import Resolved
from pytest_isolate.policy.resolution import Unavailable
from pytest_isolate.policy.settings import BY_NAME
from pytest_isolate.policy.settings import SETTINGS
from pytest_isolate.reporting.feature_table import rows
from pytest_isolate.sandbox.features import CONTROLLERS
from pytest_isolate.sandbox.features import NAMESPACES
from pytest_isolate.sandbox.spec import DirectoryRoot
from pytest_isolate.sandbox.spec import HostRoot
from pytest_isolate.sandbox.spec import MinimalRoot
from pytest_isolate.sandbox.spec import Network

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_isolate.policy.model import Policy
    from pytest_isolate.policy.resolution import Resolution
    from pytest_isolate.sandbox.features import Capabilities
    from pytest_isolate.sandbox.spec import Root

#: What of the root file system, if it is less, matters to tests.
_OF_ROOT: Final = ("overlay", "proc", "pivot_root")
_CONTROLLERS: Final = {
    wish.setting: wish.capability for wish in WISHES if wish.capability in CONTROLLERS
}


def header(policy: Policy, resolution: Resolution, capabilities: Capabilities) -> str:
    """Return the line for a run under *policy*, which is that of its unmarked tests.

    *resolution* is what a machine of *capabilities* makes of it.
    """
    match resolution:
        case Resolved(spec, notes):
            facts = [note.text for note in notes if not note.setting]
            if not spec.partial:
                facts.append(_namespaces(spec.network))
                facts.append(_root(spec.root, capabilities))
                facts += _less(capabilities)
            instead = {note.setting: note.text for note in notes}
            return _line(policy, *facts, *_settings(policy, instead, capabilities))
        case Unavailable(error):
            refused = [entry for entry in capabilities.values() if entry.code]
            line = _line(policy, f"not to be had ({policy.unavailable}): {error}")
            return "\n  ".join([line, *rows(refused)])
        case _:
            assert_never(resolution)


def requests(policy: Policy) -> str:
    """Return the line for a run under *policy* where nothing has asked the machine yet."""
    return _line(policy, *_settings(policy, {}, None))


def _line(policy: Policy, *facts: str) -> str:
    return f"isolate: {'; '.join(['all tests' if policy.enabled else 'marked tests', *facts])}"


def _namespaces(network: Network) -> str:
    return "+".join(name for name in NAMESPACES if name != "net" or network is not Network.HOST)


def _less(capabilities: Capabilities) -> Iterator[str]:
    """Yield what of the root is less than it should be."""
    yield from (lacks for name in _OF_ROOT if (lacks := capabilities[name].lacks))
    mounts = capabilities["mounts"]
    if mounts.lacks:  # told with its fix, for who has no doctor at hand
        yield f"{mounts.lacks} ({mounts.fix})"


def _root(root: Root, capabilities: Capabilities) -> str:
    match root:
        case HostRoot():
            return capabilities["overlay"].how or "root overlay"
        case MinimalRoot():
            return "root minimal"
        case DirectoryRoot(path):
            return f"root {path} (overlay)"


def _settings(
    policy: Policy, instead: dict[str, str], capabilities: Capabilities | None
) -> Iterator[str]:
    """Yield each setting that was asked for, or what is *instead*; the memory cap always."""
    for setting in SETTINGS:
        name = setting.name
        if name in instead:
            yield instead[name]
        elif (
            name == "enabled"
            or not setting.in_header
            or (name == "rootfs" and capabilities is not None)
        ):
            continue
        elif policy.asked(name) or (name == "memory" and capabilities is not None):
            yield _fact(policy, name, capabilities)


def _fact(policy: Policy, name: str, capabilities: Capabilities | None) -> str:
    value = getattr(policy, name)
    cap = name in _CONTROLLERS
    if value is None:
        return f"{name}{' cap' if cap else ''} none ({policy.origin(name).name(name)})"
    how = capabilities[_CONTROLLERS[name]].how if cap and capabilities is not None else ""
    return f"{name} {BY_NAME[name].show(value)}{f' ({how})' if how else ''}"
