"""Enter a foreign root and import there for the first time.

A program, and not a test: only a fresh interpreter has not loaded the modules before.
Usage: import_inside.py ROOT preload|plain
"""

from __future__ import annotations

import encodings.idna  # noqa: F401  # for getaddrinfo, before the library is out of reach
import importlib
import importlib.util
import json
import pwd
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

from pytest_isolate.sandbox.launch.entry import Entry
from pytest_isolate.sandbox.outcome import Exited
from pytest_isolate.sandbox.pool import Pool
from pytest_isolate.sandbox.rootfs import interpreter
from pytest_isolate.sandbox.spec import DirectoryRoot
from pytest_isolate.sandbox.spec import Spec
from pytest_isolate.sandbox.supervise import execution
from pytest_isolate.wire.frames import Event
from pytest_isolate.wire.frames import Frame

if TYPE_CHECKING:
    from pytest_isolate.sandbox.handle import Sandbox
    from pytest_isolate.wire.channel import Writer

STANDARD = ("ssl", "sqlite3", "decimal", "bz2", "lzma", "hashlib", "uuid", "curses")
#: Extension modules of packages, whichever is installed.
OF_PACKAGES = ("markupsafe._speedups", "coverage.tracer", "_yaml", "_cffi_backend")


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


def main(root: str, how: str) -> None:
    installed = [
        name for name in OF_PACKAGES if name in sys.builtin_module_names or _is_there(name)
    ]
    names = [*STANDARD, *installed]
    unseen = [name for name in names if name not in sys.modules]
    libraries = interpreter.needed_libraries() if how == "preload" else ()
    spec = Spec(root=DirectoryRoot(root), imports=interpreter.interpreter_paths())
    pool = Pool.start()
    sandbox = pool.acquire(spec)
    try:
        found = ask(sandbox, Entry(cwd="/", preload=libraries), names)
    finally:
        sandbox.retire()
        pool.close()
    json.dump({"unseen": unseen, **found}, sys.stdout)


def ask(sandbox: Sandbox, entry: Entry, names: list[str]) -> dict[str, object]:
    """Return what a process inside says of the use of modules."""
    said: dict[str, object] = {}

    def main(writer: Writer) -> None:
        writer.send(Event("used", use(names)))

    def hear(frame: Frame) -> None:
        if isinstance(frame, Event):
            said.update(frame.data)

    end = execution.run(sandbox, entry, main, on_frame=hear)
    assert end.outcome == Exited(0)
    return said


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:
        return False


if __name__ == "__main__":
    main(*sys.argv[1:])
