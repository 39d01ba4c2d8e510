"""A directory of which a sandbox has one of its own: what stays of it, and where."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING
from typing import Any

import pytest

from pytest_isolate.sandbox import own
from pytest_isolate.sandbox.launch.entry import Entry
from pytest_isolate.sandbox.outcome import Exited
from pytest_isolate.sandbox.own import Made
from pytest_isolate.sandbox.spec import Spec
from pytest_isolate.sandbox.supervise import execution
from pytest_isolate.wire.frames import Event

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_isolate.sandbox.handle import Sandbox
    from pytest_isolate.sandbox.pool import Pool
    from pytest_isolate.wire.channel import Writer
    from pytest_isolate.wire.frames import Frame

PATIENCE = 20.0


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """Return the host's directory."""
    top = tmp_path / "top"
    top.mkdir(0o700)
    return top


@pytest.fixture
def store(top: Path) -> str:
    """Return a store as a sandbox leaves it."""
    store = own.make(str(top))
    os.mkdir(own.upper(store))
    return store


def ask(sandbox: Sandbox, question: Callable[[], Any]) -> Any:
    """Return what *question* returns inside."""
    heard: list[Any] = []

    def main(writer: Writer) -> None:
        writer.send(Event("answer", {"answer": question()}))

    def hear(frame: Frame) -> None:
        if isinstance(frame, Event):
            heard.append(frame.data["answer"])

    end = execution.run(sandbox, Entry(cwd="/"), main, on_frame=hear)
    assert end.outcome == Exited(0), end
    return heard[0]


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.needs("sandbox")
@pytest.mark.parametrize("over", [False, True])
def test_what_is_written_there_is_the_sandboxs_and_on_the_hosts_disk(
    pool: Pool, top: Path, *, over: bool
) -> None:
    (top / "host").write_text("host", "utf-8")
    sandbox = pool.acquire(Spec(own=str(top), own_over=over))

    def use() -> tuple[list[str], int]:
        (top / "fixed").mkdir()
        (top / "fixed" / "file").write_text("x", "utf-8")
        (top / "host").write_text("changed", "utf-8")
        return sorted(os.listdir(top)), os.statvfs(top / "fixed").f_blocks

    names, blocks = ask(sandbox, use)

    assert names == ["fixed", "host"]
    assert blocks == os.statvfs(top).f_blocks
    assert (top / "host").read_text("utf-8") == "host"
    assert sorted(os.listdir(top)) == [own.STORES, "host"]
    sandbox.retire()
    wait_until(lambda: os.listdir(top) == ["host"])


@pytest.mark.needs("sandbox")
def test_what_the_host_has_is_seen_over_it_whenever_it_was_made(pool: Pool, top: Path) -> None:
    sandbox = pool.acquire(Spec(own=str(top), own_over=True))
    (top / "late").write_text("late", "utf-8")

    assert ask(sandbox, lambda: (top / "late").read_text("utf-8")) == "late"

    sandbox.retire()


@pytest.mark.needs("sandbox")
def test_the_keeper_moves_what_is_to_stay_if_nobody_else_has(pool: Pool, top: Path) -> None:
    sandbox = pool.acquire(Spec(own=str(top)))
    register = own.open_register(sandbox.scratch)
    ask(sandbox, (top / "data0").mkdir)
    os.write(register, Made("data", 0).entry())
    os.close(register)

    sandbox.retire()

    wait_until(lambda: os.listdir(top) == ["data0"])


def test_links_lead_to_what_is_to_stay_until_it_is_moved(top: Path, store: str) -> None:
    made = [Made("data", 0), Made("data", 1)]
    for one in made:
        os.mkdir(f"{own.upper(store)}/{one.name}")

    own.show(store, str(top), made)
    (top / "data1" / "from outside").touch()

    assert os.listdir(f"{own.upper(store)}/data1") == ["from outside"]
    assert (top / "datacurrent").resolve() == (top / "data1").resolve()
    own.settle(store, str(top), made)
    own.give_back(store, str(top))
    assert sorted(os.listdir(top)) == ["data0", "data1", "datacurrent"]
    assert not (top / "data1").is_symlink()
    assert os.listdir(top / "datacurrent") == ["from outside"]


def test_what_was_removed_inside_is_not_there_outside(top: Path, store: str) -> None:
    made = [Made("data", 0)]
    os.mkdir(f"{own.upper(store)}/data0")
    own.show(store, str(top), made)
    os.rmdir(f"{own.upper(store)}/data0")

    own.settle(store, str(top), made)

    assert not os.path.lexists(top / "data0")


def test_a_closed_directory_is_moved_as_it_is(top: Path, store: str) -> None:
    os.mkdir(f"{own.upper(store)}/data0", 0o500)

    own.settle(store, str(top), [Made("data", 0)])

    assert (top / "data0").stat().st_mode & 0o777 == 0o500


def test_nothing_of_the_hosts_is_replaced(top: Path, store: str) -> None:
    (top / "data0").mkdir()
    (top / "datacurrent").write_text("mine", "utf-8")
    os.makedirs(f"{own.upper(store)}/data0/new")

    own.show(store, str(top), [Made("data", 0)])
    own.settle(store, str(top), [Made("data", 0)])

    assert os.listdir(top / "data0") == []
    assert os.listdir(top / "data1") == ["new"]
    assert (top / "datacurrent").read_text("utf-8") == "mine"


@pytest.mark.parametrize(
    "entry",
    [
        b"",
        b"x",
        b"1",
        b"-1 a",
        b"0 ../../a",
        b"0 /etc/a",
        b"1e3 a",
        b"0 a/b",
        b"\xb2 a",
        b"9" * 5000 + b" a",
    ],
)
def test_a_register_with_nonsense_is_read_without_it(store: str, entry: bytes) -> None:
    register = own.open_register(store)
    os.write(register, entry + b"\0" + Made("da ta\n\udcff", 7).entry() + b"3 cut off")

    made, position = own.read_register(register)

    assert made == [Made("da ta\n\udcff", 7)]
    os.write(register, b"\0")
    assert own.read_register(register, position)[0] == [Made("cut off", 3)]
    os.close(register)


@pytest.mark.parametrize("kind", ["link", "file"])
def test_only_directories_are_moved(top: Path, store: str, kind: str) -> None:
    path = f"{own.upper(store)}/data0"
    if kind == "link":
        os.symlink("/etc", path)
    else:
        os.close(os.open(path, os.O_CREAT))

    own.show(store, str(top), [Made("data", 0)])
    own.settle(store, str(top), [Made("data", 0)])

    assert not os.path.lexists(top / "data0")


def test_a_store_is_removed_whatever_is_in_it(top: Path, store: str) -> None:
    deep = f"{own.upper(store)}/closed/deep"
    os.makedirs(deep)
    os.symlink("/etc", f"{deep}/link")
    os.close(os.open(f"{deep}/file", os.O_CREAT))
    os.chmod(os.path.dirname(deep), 0)

    own.give_back(store, str(top))

    assert os.listdir(top) == []
    assert os.path.isdir("/etc")
