"""Runs of small suites in a pytest of their own, and all that a reporter was told of them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from dataclasses import field
from importlib import metadata
import json
import os
from pathlib import Path
import pty
import re
import select
import shlex
import shutil
import subprocess
import sys
import termios
import textwrap
import time
from typing import TYPE_CHECKING
from typing import Any
from typing import Final
from typing import Self
from typing import final
from xml.etree import ElementTree as ET

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Mapping
    from collections.abc import Sequence

#: Programs that tests run, a folder each; pytest does not look for this project's tests there.
_SUITES: Final = Path(__file__).with_name("suites")
collect_ignore_glob: Final = [f"{_SUITES.name}*"]
#: The plugin with which each of these runs is recorded.
_RECORDER: Final = Path(__file__).with_name("recorder.py")
#: Of each suite: in a container the laboratory asks for what can be had there.
_INI: Final = f"[pytest]\n{os.environ.get('ISOLATE_TEST_INI', '')}\n"
#: How long a program at a terminal may take to say what is waited for.
_PATIENCE_SECONDS: Final = 30.0
#: How long somebody looks at a prompt before pressing Ctrl-C.
_THINKING_SECONDS: Final = 0.5
#: Colours and cursor movements, which a terminal obeys and does not show.
_ESCAPES: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
#: What differs from run to run.
_VARYING: Final = (
    (re.compile(r"\b\d+\.\d\ds\b( \(\d+:\d\d:\d\d\))?"), "0.00s"),
    # The width of a line with seconds depends on them.
    (re.compile(r"^=+ (.*) =+$", re.MULTILINE), r"== \1 =="),
    (re.compile(r"={2,}"), "=="),
    (re.compile(r"0x[0-9a-f]{6,}"), "0x0"),
    (re.compile(r"/base-(?:plain|isolated)\b"), "/base"),
    (re.compile(r"-+ (generated xml file: )\S+/(?:plain|isolated).xml -+"), r"\1"),
    (re.compile(r"^isolate: .*\n", re.MULTILINE), ""),
    # The full trace lists the plugins, of which we are one more where something is isolated.
    (re.compile(r"^(hook_impls|methods) = .*$", re.MULTILINE), r"\1"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of pytest, without what differs from run to run."""

    status: int
    output: str
    events: list[dict[str, Any]]
    junit: list[str]
    properties: dict[str, dict[str, str]] = field(compare=False)  #: `isolate.*`, by node id
    stderr: str = field(compare=False)
    told: list[str] = field(compare=False)  #: the lines of the output that are ours

    def reports(self, name: str) -> dict[str, dict[str, Any]]:
        """Return the reports of the test called *name*, by phase."""
        return {
            event["when"]: event
            for event in self.events
            if event["hook"] == "report" and event["nodeid"].endswith(f"::{name}")
        }

    def outcomes(self, name: str) -> dict[str, str]:
        """Return the outcomes of the test called *name*, by phase."""
        return {when: event["outcome"] for when, event in self.reports(name).items()}


@final
class Terminal:
    """A terminal with *command* in it, as the leader of its session, and somebody who types."""

    def __init__(
        self, command: Sequence[str], directory: Path, environment: Mapping[str, str]
    ) -> None:
        self.seen = ""  #: all that was shown by now
        self.status = -1  #: the exit status, or minus the signal's number
        self._read = 0  #: how much of it `expect` has passed
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            os.chdir(directory)
            os.execve(command[0], list(command), dict(environment))  # noqa: S606  # no shell here
        self.modes = termios.tcgetattr(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)  # hangs up
        if self.status == -1:
            with suppress(ChildProcessError):
                os.waitpid(self._pid, 0)

    @property
    def pid(self) -> int:
        """The process id of the command."""
        return self._pid

    def expect(self, words: str) -> str:
        """Wait for *words*, and return what came since those that were last waited for."""
        end = time.monotonic() + _PATIENCE_SECONDS
        while (place := self.seen.find(words, self._read)) < 0:
            if not self._take_in(end):
                msg = f"{words!r} was not seen after {self.seen[self._read :]!r}"
                raise AssertionError(msg)
        passed = self.seen[self._read : place]
        self._read = place + len(words)
        return passed

    def type(self, keys: str) -> None:
        """Press *keys*."""
        if "\x03" in keys:
            # Python loses a signal between a prompt and the wait for input, with nothing of ours.
            time.sleep(_THINKING_SECONDS)
        os.write(self._fd, keys.encode())

    def end(self) -> str:
        """Wait for the command's end, and return what came meanwhile."""
        end = time.monotonic() + _PATIENCE_SECONDS
        while self._take_in(end):
            pass
        rest = self.seen[self._read :]
        self._read = len(self.seen)
        _, status = os.waitpid(self._pid, 0)
        self.status = os.waitstatus_to_exitcode(status)
        return rest

    def hang_up(self) -> None:
        """End the terminal, as closing its window does."""
        os.close(self._fd)
        self._fd = os.open(os.devnull, os.O_RDWR)

    def has_its_modes(self) -> bool:
        """Return whether echo and the rest are what they were at first."""
        return termios.tcgetattr(self._fd) == self.modes

    def _take_in(self, end: float) -> bool:
        ready, _, _ = select.select([self._fd], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            return False
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # nobody has the other side open
            return False
        text = data.decode(errors="replace").replace("\r\n", "\n")
        self.seen = _ESCAPES.sub("", self.seen + text)
        return True


@dataclass(frozen=True, slots=True)
class Suite:
    """A directory of tests."""

    directory: Path
    patience: float = 250  #: seconds that a run may take, on a slow kernel as well

    def copy(self, *names: str) -> None:
        """Copy the files of the folders *names* of `suites`."""
        for name in names:
            shutil.copytree(_SUITES / name, self.directory, dirs_exist_ok=True)

    def write(self, files: Mapping[str, str]) -> None:
        """Write test modules; a name without a dot is that of one."""
        for name, source in files.items():
            path = self.directory / (name if "." in name else f"test_{name}.py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(source), encoding="utf-8")

    def twice(self, *arguments: str) -> tuple[Run, Run]:
        """Return a plain and an isolated run with the same *arguments*."""
        return self.run(*arguments), self.run("--isolate", *arguments)

    def at_terminal(self, *arguments: str, **environment: str) -> Terminal:
        """Start pytest at a terminal of its own."""
        name = "isolated" if "--isolate" in arguments else "plain"
        command = [sys.executable, "-m", "pytest", *_load_plugin(), *arguments]
        command.append(f"--basetemp={self.directory.parent}/base-{name}")
        inherited = {key: value for key, value in os.environ.items() if key != "PYTEST_VERSION"}
        settings = {"TERM": "dumb", "COLUMNS": "80", "SHELL": "/bin/sh", "PS1": "$ "}
        return Terminal(command, self.directory, {**inherited, **settings, **environment})

    def run(self, *arguments: str, **environment: str) -> Run:
        """Run pytest."""
        name = "isolated" if "--isolate" in arguments else "plain"
        record = self.directory.parent / f"{name}.record"
        junit = self.directory.parent / f"{name}.xml"
        for old in (record, junit):
            old.unlink(missing_ok=True)
        command = [sys.executable, "-m", "pytest", "-p", "recorder", *_load_plugin()]
        command += [f"--junitxml={junit}", f"--basetemp={self.directory.parent}/base-{name}"]
        inherited = {key: value for key, value in os.environ.items() if key != "PYTEST_VERSION"}
        places = os.pathsep.join([str(self.directory.parent), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(
            [*command, *arguments],
            cwd=self.directory,
            env={
                **inherited,
                "RECORD": str(record),
                "PYTHONPATH": places,
                "PYTHONHASHSEED": "0",  # pytest has log colours in sets
                **environment,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=self.patience,
        )
        lines = record.read_text(encoding="utf-8").splitlines() if record.exists() else []
        events = [_normalized(json.loads(line)) for line in lines]
        output = done.stdout.decode(errors="backslashreplace")
        return Run(
            status=done.returncode,
            output=_normalized(output),
            events=events,
            junit=_normalized(_read_junit(junit)),
            properties={e["nodeid"]: p for e in events if (p := e.pop("isolate", None))},
            stderr=done.stderr.decode(errors="backslashreplace"),
            told=[line for line in output.splitlines() if line.startswith("isolate: ")],
        )


def _load_plugin() -> list[str]:
    """Return the option that loads the plugin where pytest does not do so by itself."""
    if not metadata.entry_points(group="pytest11", name="isolate"):
        return ["-p", "pytest_isolate.plugin"]
    return ["-p", "isolate"] if "PYTEST_DISABLE_PLUGIN_AUTOLOAD" in os.environ else []


def _normalized(value: Any) -> Any:  # JSON
    match value:
        case str():
            for pattern, replacement in _VARYING:
                value = pattern.sub(replacement, value)
            return value
        case list():
            return [_normalized(one) for one in value]
        case {"properties": list(properties), **rest}:
            ours = {name: text for name, text in properties if name.startswith("isolate.")}
            others = [[name, text] for name, text in properties if name not in ours]
            return {**_normalized(rest), "properties": others, "isolate": ours}
        case dict():
            return {key: _normalized(one) for key, one in value.items()}
        case _:
            return value


def _read_junit(path: Path) -> list[str]:
    """Return the elements of a junitxml file, a line each, without times and our figures."""
    if not path.exists():
        return []
    root = ET.parse(path).getroot()  # noqa: S314  # our own
    lines = []
    for element in root.iter():
        attributes = {
            key: value
            for key, value in element.items()
            if key not in {"time", "timestamp", "hostname"}
        }
        if attributes.get("name", "").startswith("isolate."):
            continue
        if element.tag == "properties" and all(
            child.get("name", "").startswith("isolate.") for child in element
        ):
            continue
        lines.append(f"{element.tag} {attributes} {(element.text or '').strip()}")
    return lines


@pytest.fixture
def bash(tmp_path: Path) -> Iterator[Terminal]:
    """Return a terminal with an interactive bash, for which `run` is ours and `$ ` the prompt."""
    start = tmp_path / "bashrc"
    run = shlex.join((sys.executable, "-m", "pytest_isolate", "run"))
    start.write_text(f"PS1='$ '\nalias run={shlex.quote(run)}\n", encoding="utf-8")
    command = ["/bin/bash", "--noprofile", "--rcfile", str(start), "-i"]
    settings = {"TERM": "dumb", "COLUMNS": "200", "HISTFILE": "", "SHELL": "/bin/bash"}
    with Terminal(command, tmp_path, {**os.environ, **settings}) as terminal:
        terminal.expect("$ ")
        yield terminal


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    """Return an empty directory of tests."""
    return make_suite(tmp_path)


@pytest.fixture(scope="module")
def module_suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    """Return an empty directory of tests, the same for all tests of a module."""
    return make_suite(tmp_path_factory.mktemp("suite"))


def make_suite(place: Path) -> Suite:
    """Return a directory of tests in *place*, and the recorder beside it."""
    shutil.copyfile(_RECORDER, place / _RECORDER.name)
    directory = place / "suite"
    directory.mkdir()
    (directory / "pytest.ini").write_text(_INI, encoding="utf-8")
    return Suite(directory)
