"""A fork into a sandbox: Python's at-fork handlers find the process where it will stay."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import Final

import pytest

#: Handlers stay registered, so each test has an interpreter of its own.
PRELUDE: Final = """
    import gc, os, sys, threading, time
    from pytest_isolate.sandbox.launch import forks
    from pytest_isolate.sandbox.supervise import execution
    from pytest_isolate.sandbox.launch.entry import Entry
    from pytest_isolate.sandbox.pool import Pool
    from pytest_isolate.sandbox.spec import Spec
    from pytest_isolate.wire.frames import Event

    def ask(question):
        answers = []
        pool = Pool.start()
        sandbox = pool.acquire(Spec())
        def main(writer): writer.send(Event("answer", {"answer": question()}))
        end = execution.run(sandbox, Entry(cwd="/"), main, on_frame=answers.append, timeout=20)
        sandbox.retire()
        pool.close()
        assert not getattr(end.outcome, "status", 1) and end.said_bye, end
        return answers[-1].data["answer"]
"""


def run(source: str) -> str:
    code = textwrap.dedent(PRELUDE) + textwrap.dedent(source)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.needs("sandbox")
def test_a_handler_may_start_a_thread() -> None:
    answer = run("""
        def start(): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        os.register_at_fork(after_in_child=start)
        print(ask(threading.active_count))
    """)
    assert answer == "2\n"


@pytest.mark.needs("sandbox")
def test_what_a_handler_starts_is_confined_as_the_test_is() -> None:
    answer = run("""
        seen = []
        def tell():
            with open("/proc/thread-self/status") as file:
                seen.append([line for line in file if line.startswith(("Cap", "NoNewPrivs"))])
            place = "/proc/thread-self/ns"
            seen.append([os.readlink(f"{place}/{name}") for name in os.listdir(place)])
            with open("/proc/thread-self/cgroup") as file: seen.append(file.read())
        def start():
            thread = threading.Thread(target=tell); thread.start(); thread.join()
        os.register_at_fork(after_in_child=start)
        def question(): tell(); return [seen[:3] == seen[3:], len(seen)]
        print(ask(question))
    """)
    assert answer == "[True, 6]\n"


@pytest.mark.needs("sandbox")
def test_a_handler_may_close_and_open_descriptors() -> None:
    answer = run("""
        read, write = os.pipe()
        def handler():
            os.close(write)
            os.close(read)
            os.dup2(os.open("/proc/self/status", os.O_RDONLY), read)
        os.register_at_fork(after_in_child=handler)
        print(ask(lambda: os.read(read, 5).decode()))
    """)
    assert answer == "Name:\n"


@pytest.mark.needs("sandbox")
def test_handlers_run_once_each_in_their_order_and_none_of_them_in_between() -> None:
    answer = run("""
        log = []
        for word in "abc":
            os.register_at_fork(
                before=lambda word=word: log.append("before " + word),
                after_in_parent=lambda word=word: log.append("parent " + word),
                after_in_child=lambda word=word: log.append("child " + word),
            )
        print(ask(lambda: log))
        print(log)
    """)
    before = [f"before {word}" for word in "cba"]
    assert answer.splitlines() == [
        str([*before, *(f"child {word}" for word in "abc")]),
        str([*before, *(f"parent {word}" for word in "abc")]),
    ]


@pytest.mark.parametrize("frozen", [False, True])
def test_what_is_first_comes_before_handlers_of_an_earlier_time(frozen: bool) -> None:  # noqa: FBT001  # a parameter
    answer = run(f"""
        log = []
        os.register_at_fork(after_in_child=lambda: log.append("handler"))
        if {frozen}: gc.freeze()
        if not forks.fork(lambda: log.append("first")):
            os.write(1, repr(log).encode()); os._exit(0)
        os.wait()
        print((gc.get_freeze_count() > 2000) == {frozen})
    """)
    assert answer == "['first', 'handler']True\n"


def test_forks_of_others_are_left_alone() -> None:
    answer = run("""
        log = []
        if not forks.fork(lambda: log.append("first")):
            if not os.fork(): os.write(1, repr(log).encode()); os._exit(0)
            os.wait(); os._exit(0)
        os.wait()
        if not os.fork(): os.write(1, repr(log).encode()); os._exit(0)
        os.wait()
    """)
    assert answer == "['first'][]"


def test_the_fork_of_another_thread_meanwhile_is_left_alone() -> None:
    answer = run("""
        log = []
        def other():
            if not os.fork(): os.write(1, b"other " + repr(log).encode()); os._exit(0)
            os.wait()
        def before():
            if threading.current_thread() is threading.main_thread():
                thread = threading.Thread(target=other); thread.start(); thread.join()
        os.register_at_fork(before=before)
        if not forks.fork(lambda: log.append("first")):
            os.write(1, b" main " + repr(log).encode()); os._exit(0)
        os.wait()
    """)
    assert answer == "other [] main ['first']"


@pytest.mark.needs("sandbox")
def test_the_keeper_ends_while_a_process_lives_that_others_have_forked() -> None:
    answer = run("""
        import signal
        pool = Pool.start()
        pool.capabilities
        pid = os.fork()
        if not pid: time.sleep(100)
        pool.close()
        os.kill(pid, signal.SIGKILL)
        os.wait()
        print("closed")
    """)
    assert answer == "closed\n"


#: What a library of C does that is to live on after a fork: functions of C, and no byte code.
LIBRARY: Final = """
    import ctypes, functools
    from pytest_isolate.sandbox.launch import libraries

    libc, function = ctypes.PyDLL(None, use_errno=True), ctypes.CFUNCTYPE(None)
    ids = (ctypes.c_ulong * 100)()
    started = []  # what pthread_create(3) has answered
    def start(): started.append(create())
    create = functools.partial(
        libc.pthread_create, ctypes.byref(ids), None, ctypes.cast(libc.sleep, ctypes.c_void_p), 60
    )
    cell = (ctypes.c_int * 2)()
    in_parent, in_child = function(functools.partial(create)), function(functools.partial(create))
    def load():
        register = getattr(libc, "__register_atfork", None)
        if register: register(None, in_parent, in_child, None)
        else: libc.pthread_atfork(None, in_parent, in_child)
        start()
    def threads(): return len(os.listdir("/proc/self/task"))
"""


@pytest.mark.needs("sandbox")
def test_a_library_of_c_may_start_its_threads_anew_in_parent_and_child() -> None:
    answer = run(
        textwrap.dedent(LIBRARY)
        + textwrap.dedent("""
            libraries.register()
            load()
            calls = []
            os.register_at_fork(after_in_child=lambda: calls.append(threads()))
            def question(): return [threads(), calls, threading.active_count(), started]
            for number in range(3):
                before = threads()
                inside = ask(question)
                # One more in the parent each time, and Python's own handlers ran once in the child.
                print(inside, threads() - before, flush=True)
        """)
    )
    assert answer == "[2, [2], 1, [0]] 1\n" * 3


def test_handlers_outlive_the_module_that_registered_them() -> None:
    answer = run("""
        import ctypes
        from pytest_isolate.sandbox.launch import libraries

        libraries.register()
        del libraries, forks, execution, Entry, Pool, Spec, Event, ask
        for name in [name for name in sys.modules if name.startswith("pytest_isolate")]:
            del sys.modules[name]
        gc.collect()
        called = []  # by who has the place in memory now
        others = [ctypes.CFUNCTYPE(None)(lambda: called.append(1)) for _ in range(100)]
        child = os.fork()
        if child == 0: os._exit(len(called))
        _, status = os.waitpid(child, 0)
        print(status, called)
    """)
    assert answer == "0 []\n"


@pytest.mark.needs("sandbox")
def test_a_library_that_came_first_is_told_of_and_harms_nothing_outside() -> None:
    answer = run(
        textwrap.dedent(LIBRARY)
        + textwrap.dedent("""
            from pytest_isolate.sandbox.errors import SandboxError

            load()
            libraries.register()
            before = threads()
            pool = Pool.start()
            sandbox = pool.acquire(Spec())
            end = execution.run(sandbox, Entry(cwd="/"), lambda writer: None, timeout=20)
            sandbox.retire()
            pool.close()
            # What was started in this process did start.
            print(end.outcome.error.why, started, threads() - before)
        """)
    )
    assert answer.startswith("a library of C has started threads in the forked process")
    assert answer.endswith(" [0] 1\n")
