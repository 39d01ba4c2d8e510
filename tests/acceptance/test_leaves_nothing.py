"""After a run of tests that misbehave in every way, the machine is as it was before."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING
from typing import Final

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Footprint

MISBEHAVING: Final = """
    import ctypes, os, signal, socket, subprocess, time
    from pathlib import Path
    import pytest

    HERE = Path(__file__).parent

    @pytest.mark.parametrize("place", ["/tmp", "/var/tmp", "/dev/shm", "~", "/run", "/etc", HERE])
    def test_files(place):
        file = Path(place).expanduser() / "left behind"
        try:
            file.write_text("x")
        except PermissionError:
            assert os.getuid() != 0

    def test_process(): subprocess.Popen(["sleep", "600"], start_new_session=True)
    def test_daemon():
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0: time.sleep(600)
            os._exit(0)
    def test_socket(): socket.create_server(("127.0.0.1", 5432)).listen()
    @pytest.mark.isolated(user="root")
    def test_mount(): subprocess.run(["mount", "-t", "tmpfs", "none", "/mnt"], check=True)
    @pytest.mark.isolated(user="root")
    def test_host_name(): socket.sethostname("changed")
    @pytest.mark.isolated(timeout=2)
    def test_slow(): time.sleep(600)
    def test_crash(): ctypes.string_at(0)
    def test_exit(): os._exit(0)
    def test_killer(): os.kill(-1, signal.SIGKILL)
    @pytest.mark.isolated(memory="64M")
    def test_hungry():
        if "can_cap" in os.environ: bytearray(10**9)
        else: pytest.skip()
    def test_cgroup(): os.sched_yield()
"""


@pytest.mark.needs("sandbox", "pivot_root")
def test_machine_is_as_it_was(footprint: Footprint, tmp_path: Path, *, can_cap: bool) -> None:
    file = tmp_path / "test_misbehaving.py"
    file.write_text(textwrap.dedent(MISBEHAVING), encoding="utf-8")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    cap = {"can_cap": "1"} if can_cap else {}
    command = [sys.executable, "-m", "pytest", "--isolate", "-p", "no:cacheprovider", str(file)]
    done = subprocess.run(
        [*command, *([] if can_cap else ["--isolate-unavailable=degrade"])],
        env={
            **footprint.environment,
            **cap,
            "TMPDIR": os.fspath(scratch),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    outcomes = pytest.RunResult.parse_summary_nouns(done.stdout.splitlines())

    assert outcomes.get("failed", 0) == 4 + can_cap, done.stdout + done.stderr
    assert outcomes.get("passed", 0) == 13, done.stdout
    assert footprint.left() == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scratch", file.name]
    assert {path.name.partition("-of-")[0] for path in scratch.iterdir()} <= {"pytest"}


@pytest.fixture
def can_cap() -> bool:
    """Whether a memory cap can be had: an ordinary user may lack a cgroup."""
    command = [sys.executable, "-m", "pytest_isolate", "doctor"]
    return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0
