"""Deaths of all kinds in a row, at random: each is told apart, none is lost, nothing stays behind.

ISOLATE_TEST_DEATHS is how many (`tox -e soak`: 500), ISOLATE_TEST_SEED which ones.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
import json
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
    "exec_of_a_program": "exit 0",
    "lost_report": "exit 3",
    "garbage": "isolation",
    "lives": "finished",
    "fails": "finished",
}
#: Kinds that are told of in the phase that ran; a kill of a child comes later, a limit at any time.
_EXACT: Final = ("signal", "crash", "exit", "exec")
_PHASES: Final = ("setup", "call", "teardown")


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
    suite.copy("random_deaths", "wire")
    suite.write({"cases.json": json.dumps(cases)})

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
