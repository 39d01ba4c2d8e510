"""Locks that other threads take all the time are free in a forked process."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import Final

import pytest

FORKS: Final = 15
#: Threads never end, so each test has an interpreter of its own.
PRELUDE: Final = """
    import gc, io, logging, os, queue, select, signal, sys, threading, time
    from pytest_isolate.sandbox.launch import forks
    EVENTS = threading.Event(), threading.Semaphore(0)
    QUEUE = queue.Queue()
    LOG = logging.getLogger("log"); LOG.setLevel(10); LOG.propagate = False

    def busy(lock):
        while True:
            with lock:
                time.sleep(0.0005); sum(range(2000))
            time.sleep(0.0005)
    def putter():
        while True: QUEUE.put(1); QUEUE.get()
    def logger():
        LOG.addHandler(logging.FileHandler("log"))
        while True: LOG.info("a")
    def printer():
        while True: print("a" * 5000, file=sys.stdout, flush=True)
    def waiter():
        while True: EVENTS[0].wait(0.01)
    def start(function, *args):
        threading.Thread(target=function, args=args, daemon=True).start()
        time.sleep(0.05)

    def forked(action):
        "Return whether *action* comes to its end in a forked process."
        if not (pid := forks.fork(lambda: None)):
            action()
            os._exit(0)
        pidfd = os.pidfd_open(pid)
        ended = select.select([pidfd], [], [], 5)[0]
        os.close(pidfd)
        if not ended: os.kill(pid, signal.SIGKILL)
        return os.waitpid(pid, 0)[1] == 0

    def use(lock):
        with lock: pass
"""


def run(source: str, tmp_path: object) -> str:
    # Without the interpreter's end, at which threads are in each other's way.
    code = textwrap.dedent(PRELUDE) + textwrap.dedent(source) + "\nos._exit(0)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=str(tmp_path),
        capture_output=True,
        text=True,
        check=False,
        timeout=40,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("thread", "action"),
    [
        ("busy, LOCK", "use(LOCK)"),
        ("busy, RLOCK", "use(RLOCK)"),
        ("putter,", "QUEUE.put(1)"),
        ("logger,", "LOG.info('b')"),
        ("printer,", "print('b')"),
    ],
)
@pytest.mark.parametrize("frozen", [False, True])
def test_what_a_thread_is_at_all_the_time_is_done_in_a_fork(
    thread: str,
    action: str,
    frozen: bool,  # noqa: FBT001  # a parameter
    tmp_path: object,
) -> None:
    said = run(
        f"""
        LOCK, RLOCK = threading.Lock(), threading.RLock()
        start({thread})
        if {frozen}: gc.freeze()
        print([forked(lambda: {action}) for _ in range({FORKS})].count(True), file=sys.stderr)
        """,
        tmp_path,
    )
    assert said == f"{FORKS}\n"


def test_an_rlock_that_a_thread_keeps_is_free(tmp_path: object) -> None:
    said = run(
        """
        RLOCK = threading.RLock()
        def keep():
            with RLOCK: time.sleep(600)
        start(keep)
        print(forked(lambda: use(RLOCK)), RLOCK.acquire(blocking=False), file=sys.stderr)
        """,
        tmp_path,
    )
    assert said == "True False\n"


def test_locks_of_this_thread_stay_what_they_are(tmp_path: object) -> None:
    said = run(
        """
        LOCK, RLOCK, FREE = threading.Lock(), threading.RLock(), threading.RLock()
        LOCK.acquire(); RLOCK.acquire(); RLOCK.acquire()
        start(waiter)
        def check():
            assert LOCK.locked()
            RLOCK.release(); RLOCK.release()
            assert not RLOCK._is_owned() and not FREE._is_owned()
        assert forked(check)
        check()
        def try_it(): print(FREE.acquire(blocking=False), file=sys.stderr)
        other = threading.Thread(target=try_it)
        other.start(); other.join()
        """,
        tmp_path,
    )
    assert said == "True\n"


def test_a_module_that_a_thread_imports_can_be_imported(tmp_path: object) -> None:
    said = run(
        """
        with open("slow.py", "w") as file: file.write("import time; time.sleep(1); VALUE = 3")
        sys.path.insert(0, ".")
        def work(): import slow
        start(work)
        def use_it():
            import slow
            assert slow.VALUE == 3
        print(forked(use_it), file=sys.stderr)
        """,
        tmp_path,
    )
    assert said == "True\n"


def test_threads_that_only_wait_cost_a_fork_next_to_nothing(tmp_path: object) -> None:
    said = run(
        """
        from pytest_isolate.sandbox.launch.locks import Locks
        locks = Locks()
        for _ in range(5): start(waiter)
        start(EVENTS[1].acquire)
        times = []
        for _ in range(200):
            begin = time.monotonic(); locks.take(); locks.give_back()
            times.append(time.monotonic() - begin)
        print(sorted(times)[100] * 1000, file=sys.stderr)
        """,
        tmp_path,
    )
    assert float(said) < 2
