"""`doctor`: what this machine gives, tried for real, and the mend for what is missing."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from pytest_isolate.policy import Policy
from pytest_isolate.policy import Resolved
from pytest_isolate.policy import resolve
from pytest_isolate.sandbox.errors import KeeperError
from pytest_isolate.sandbox.pool import Pool

if TYPE_CHECKING:
    from argparse import Namespace
    from argparse import _SubParsersAction

    from pytest_isolate.sandbox.capabilities import Capabilities
    from pytest_isolate.sandbox.capabilities import Capability


def register(commands: _SubParsersAction) -> None:  # type: ignore[type-arg]  # argparse's own gap
    """Add the subcommand."""
    parser = commands.add_parser(
        "doctor",
        help="say what this machine can give, what is missing and what to do about it",
        description="Exits with 1 if the default sandbox with its memory cap cannot be had.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(call=_doctor)


def _doctor(options: Namespace) -> int:
    pool = Pool.start()
    try:
        capabilities = pool.capabilities
    except KeeperError as error:
        sys.stderr.write(f"pytest_isolate: {error}\n")
        return 1
    finally:
        pool.close()
    if options.json:
        sys.stdout.write(json.dumps(capabilities.to_json(), indent=2) + "\n")
    else:
        sys.stdout.writelines(f"{line}\n" for line in table(capabilities))
    return 0 if _is_sound(capabilities) else 1


def _is_sound(capabilities: Capabilities) -> bool:
    """Return whether the default sandbox can be had, its memory cap included."""
    found = resolve(Policy(enabled=True), capabilities)
    return isinstance(found, Resolved) and capabilities["memory"].available


def table(capabilities: Capabilities) -> list[str]:
    """Return the lines of the table: a row a capability, its mend below it, and the verdict."""
    width = max(map(len, capabilities))
    lines = []
    for capability in capabilities.values():
        lines.append(f"{capability.name:<{width}}  {_state(capability)}".rstrip())
        if not capability.available and capability.mend:
            lines.append(f"{'':<{width}}       mend: {capability.mend}")
    if _is_sound(capabilities):
        return [*lines, "", "The default sandbox, its memory cap included, can be had here."]
    return [*lines, "", "The default sandbox with its memory cap cannot be had here."]


def _state(capability: Capability) -> str:
    if capability.available:
        return f"yes  {capability.how}"
    code = f" ({capability.errno_name})" if capability.code else ""
    return f"no   {capability.why}{code}"
