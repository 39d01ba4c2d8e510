"""Enter a foreign root and import there for the first time.

A program, and not a test: only a fresh interpreter has not loaded the modules before.
Usage: import_inside.py ROOT HOME preload|plain
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import pwd
import socket
import subprocess
import sys
from typing import Any

from pytest_isolate.sandbox.linux import capabilities
from pytest_isolate.sandbox.rootfs import interpreter
from pytest_isolate.sandbox.spec import DirectoryRoot
from pytest_isolate.sandbox.spec import Spec

STANDARD = ("ssl", "sqlite3", "decimal", "bz2", "lzma", "hashlib", "uuid", "curses")
#: Extension modules of packages, whichever is installed.
OF_PACKAGES = ("markupsafe._speedups", "coverage.tracer", "_yaml", "_cffi_backend")


def load_harness() -> Any:
    path = os.path.join(os.path.dirname(__file__), "conftest.py")
    spec = importlib.util.spec_from_file_location("harness", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["harness"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def use(names: list[str]) -> dict[str, object]:
    failed = {}
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            failed[name] = str(error)
    shell = subprocess.run(
        ["/bin/sh", "-c", "read word < /etc/marker && echo $word"],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        user = pwd.getpwuid(0).pw_name
    except KeyError:
        user = ""
    return {
        "failed": failed,
        "localhost": [info[4][0] for info in socket.getaddrinfo("localhost", 80)],
        "own name": socket.gethostbyname(socket.gethostname()),
        "shell": shell.stdout + shell.stderr,
        "user": user,
    }


def main(root: str, home: str, how: str) -> None:
    harness = load_harness()
    uid, gid = os.geteuid(), os.getegid()
    privileged = capabilities.is_machine_root()
    identity = harness.Identity(uid=uid, gid=gid, home=home, privileged=privileged)
    installed = [
        name for name in OF_PACKAGES if name in sys.builtin_module_names or _is_there(name)
    ]
    names = [*STANDARD, *installed]
    unseen = [name for name in names if name not in sys.modules]
    libraries = interpreter.needed_libraries() if how == "preload" else ()
    spec = Spec(root=DirectoryRoot(root), imports=interpreter.interpreter_paths())
    box = harness.Sandbox(identity, spec)
    try:
        found = box.run(use, names, before=lambda: interpreter.preload(libraries))
    finally:
        box.close()
    json.dump({"unseen": unseen, **found}, sys.stdout)


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:
        return False


if __name__ == "__main__":
    main(*sys.argv[1:])
