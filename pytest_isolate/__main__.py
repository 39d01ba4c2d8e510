"""`python -m pytest_isolate`: the sandbox without pytest."""

from __future__ import annotations

from contextlib import nullcontext
from contextlib import redirect_stdout
import io
import sys
from typing import Final

from pytest_isolate.sandbox.launch.given import Given

_USAGE: Final = 2
_CANNOT_START: Final = 125


def main(arguments: list[str] | None = None) -> int:
    """Return the exit status of the subcommand that *arguments* name."""
    # Before anything else is imported, which takes its time and opens files.
    given = Given()
    try:
        import argparse  # noqa: PLC0415  # as said above

        from pytest_isolate.cli import doctor  # noqa: PLC0415  # as said above
        from pytest_isolate.cli import run  # noqa: PLC0415  # as said above
        from pytest_isolate.cli import streams  # noqa: PLC0415  # as said above
    except (OSError, ImportError) as error:
        # As at a limit of descriptors that is too low for Python itself.
        sys.stderr.write(f"pytest_isolate: cannot start: {error}\n")
        return _CANNOT_START
    parser = argparse.ArgumentParser(
        prog="python -m pytest_isolate",
        description="Run a command in its own container, or see what this machine gives.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    run.register(commands)
    doctor.register(commands)
    # argparse says nothing of a help that nobody gets. A terminal gets it, in colour.
    text = io.StringIO()
    try:
        with nullcontext() if sys.stdout.isatty() else redirect_stdout(text):
            options = parser.parse_args(arguments)
        status: int = options.call(options, given)
    except SystemExit as end:  # of argparse's
        status = end.code if isinstance(end.code, int) else _CANNOT_START
    except OSError:  # of argparse's as well, whose words on wrong options nobody can hear
        status = _USAGE
    return streams.say(text.getvalue(), status)


if __name__ == "__main__":
    sys.exit(main())
