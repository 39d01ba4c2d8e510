"""The subcommands of `python -m pytest_isolate`; they know the sandbox and nothing of pytest."""
