"""Deaths of all kinds in a row, at random: each is told apart, none is lost, nothing stays behind.

ISOLATE_TEST_DEATHS is how many (`tox -e soak`: 500), ISOLATE_TEST_SEED which ones.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
import os
import random
from typing import TYPE_CHECKING
from typing import Final

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Run
    from tests.acceptance.conftest import Suite
    from tests.conftest import Footprint

DEATHS: Final = int(os.environ.get("ISOLATE_TEST_DEATHS", "20"))
SEED: Final = int(os.environ.get("ISOLATE_TEST_SEED", "4"))
_SECONDS_PER_DEATH: Final = 3.0  #: far above what one takes on a busy machine
_SIGNALS: Final = ("SEGV", "BUS", "FPE", "ILL", "ABRT", "TERM", "HUP", "KILL", "ALRM", "USR1")

#: Each kind of end: the property `isolate.outcome`.
ENDS: Final[dict[str, str]] = {
    "oom_fast": "oom",
    "oom_slow": "oom",
    "oom_tmpfs": "oom",
    "oom_child": "oom",
    "oom_thread": "oom",
    "timeout_asleep": "timeout",
    "timeout_busy": "timeout",
    "timeout_deaf": "timeout",
    **{f"signal_{name}": f"signal SIG{name}" for name in _SIGNALS},
    "crash_of_a_pointer": "signal SIGSEGV",
    "crash_of_the_stack": "signal SIGSEGV",
    "crash_of_a_thread": "signal SIGABRT",
    "exit_0": "exit 0",
    "exit_3": "exit 3",
    "exec": "exit 0",
    "lost_report": "exit 3",
    "garbage": "isolation",
    "lives": "finished",
    "fails": "finished",
}
#: Kinds that are told of in the phase that ran; a kill of a child comes later, a limit at any time.
_EXACT: Final = ("signal", "crash", "exit", "exec")
_PHASES: Final = ("setup", "call", "teardown")

TESTS: Final = """
    import ctypes, os, pytest, signal, stat, subprocess, sys, threading, time

    CASES = {cases!r}
    MARKS = {{
        "oom": [pytest.mark.isolated(memory="40M")],
        "timeout": [pytest.mark.isolated(timeout=0.4)],
    }}

    def eat():
        hoard = []
        while True: hoard.append(bytearray(10_000))
    def pipes():
        for name in os.listdir("/proc/self/fd"):
            if int(name) > 2 and os.path.exists("/proc/self/fd/" + name):
                if stat.S_ISFIFO(os.stat("/proc/self/fd/" + name).st_mode):
                    flags = open("/proc/self/fdinfo/" + name).read().split()[3]
                    if int(flags, 8) & os.O_ACCMODE == os.O_WRONLY: yield int(name)
    def in_a_thread(function):
        thread = threading.Thread(target=function)
        thread.start()
        thread.join()

    def oom_fast(): b"x" * 100_000_000
    def oom_slow(): eat()
    def oom_tmpfs():
        with open("/tmp/full", "wb", buffering=0) as file:
            while True: file.write(b"x" * 50_000)
    def oom_child():
        code = "x = bytearray(100_000_000)"
        assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    def oom_thread(): in_a_thread(eat)
    def timeout_asleep(): time.sleep(60)
    def timeout_busy(): sum(range(10**12))
    def timeout_deaf():
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
        time.sleep(60)
    def crash_of_a_pointer(): ctypes.string_at(0)
    def crash_of_the_stack():
        # The C library parses it by recursion; Python 3.12 counts its own calls through C.
        ctypes.CDLL(None).regcomp(ctypes.create_string_buffer(1024), b"(" * 1_000_000, 1)
    def crash_of_a_thread(): in_a_thread(os.abort)
    def exit_0(): os._exit(0)
    def exit_3(): os._exit(3)
    def exec(): os.execv("/bin/true", ["true"])
    def lost_report():
        for fd in pipes(): os.close(fd)
    def garbage():
        for fd in pipes(): os.write(fd, b"garbage")
    def lives(): print("alive")
    def fails(): assert False, "as it should"

    def end(kind):
        if kind.startswith("signal_"):
            os.kill(os.getpid(), getattr(signal, "SIG" + kind.removeprefix("signal_")))
            time.sleep(60)
        globals()[kind]()

    @pytest.fixture
    def around(kind, phase):
        # Company that has to go as well.
        if kind != "lives": subprocess.Popen(["sleep", "600"], start_new_session=True)
        if phase == "setup": end(kind)
        yield
        if phase == "teardown": end(kind)

    @pytest.mark.parametrize(
        ("kind", "phase"),
        [
            pytest.param(*case, id=str(number), marks=MARKS.get(case[0].partition("_")[0], []))
            for number, case in enumerate(CASES)
        ],
    )
    def test_end(kind, phase, around):
        if phase == "call": end(kind)
"""


def choose() -> list[tuple[str, str]]:
    """Return kinds and phases: `DEATHS` deaths, and among them tests that live."""
    chance = random.Random(SEED)  # noqa: S311  # the same each time is what is wanted
    deadly = [kind for kind, word in ENDS.items() if word != "finished"]
    # Every kind once, as far as there are enough.
    kinds = chance.sample(deadly, len(deadly)) + chance.choices(deadly, k=DEATHS)
    kinds = kinds[:DEATHS] + chance.choices(["lives", "fails"], k=DEATHS // 5)
    chance.shuffle(kinds)
    return [(kind, chance.choice(_PHASES)) for kind in kinds]


def judge(run: Run, number: int, kind: str, phase: str) -> str:
    """Return what is wrong with how the test of that *number* was told of, or ""."""
    reports = run.reports(f"test_end[{number}]")
    if "setup" not in reports or "teardown" not in reports:
        return f"lost: {sorted(reports)}"
    word = run.properties[reports["setup"]["nodeid"]].get("isolate.outcome")
    if word != ENDS[kind]:
        return f"said {word!r}"
    failed = {when for when, report in reports.items() if report["outcome"] == "failed"}
    if not failed and kind != "lives":
        return "did not fail"
    if kind.startswith(_EXACT) and failed != {phase}:
        return f"failed in {sorted(failed)}"
    return ""


def table(cases: list[tuple[str, str]], wrong: dict[int, str]) -> str:
    """Return the results by kind."""
    total = Counter(kind for kind, _ in cases)
    missed = Counter(cases[number][0] for number in wrong)
    rows = [f"{'kind':20} {'outcome':16} tests right"]
    rows += [
        f"{kind:20} {word:16} {total[kind]:5} {total[kind] - missed[kind]:5}"
        for kind, word in ENDS.items()
        if total[kind]
    ]
    rows.append(f"{'all':20} {'':16} {len(cases):5} {len(cases) - len(wrong):5}")
    return "\n".join(rows)


@pytest.mark.needs("sandbox", "memory")
@pytest.mark.timeout(60 + DEATHS * _SECONDS_PER_DEATH)
def test_each_of_many_random_deaths_is_told_apart(suite: Suite, footprint: Footprint) -> None:
    cases = choose()
    suite = replace(suite, patience=60 + DEATHS * _SECONDS_PER_DEATH)
    suite.write({"ends": TESTS.format(cases=cases)})

    run = suite.run(
        *("--isolate", "-p", "no:cacheprovider", "--tb=no"),
        ISOLATE_TEST_TOKEN=footprint.token,
    )

    wrong = {
        number: problem
        for number, (kind, phase) in enumerate(cases)
        if (problem := judge(run, number, kind, phase))
    }
    print(f"\nseed {SEED}\n{table(cases, wrong)}")  # noqa: T201  # what the run is for
    assert [(cases[number], problem) for number, problem in wrong.items()] == []
    assert len(run.properties) == len(cases)
    assert footprint.left() == []
