"""`python -m pytest_isolate`: the sandbox without pytest."""

from __future__ import annotations

import argparse
import sys

from pytest_isolate.commands import doctor
from pytest_isolate.commands import run


def main(arguments: list[str] | None = None) -> int:
    """Return the exit status of the subcommand that *arguments* name."""
    parser = argparse.ArgumentParser(
        prog="python -m pytest_isolate",
        description="Run a command in its own container, or see what this machine gives.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    run.register(commands)
    doctor.register(commands)
    options = parser.parse_args(arguments)
    status: int = options.call(options)
    return status


if __name__ == "__main__":
    sys.exit(main())
