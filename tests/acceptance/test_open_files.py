"""What a module has opened when it is imported, in its isolated tests."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Final

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite

pytestmark = pytest.mark.needs("sandbox")

PASSED: Final = {"setup": "passed", "call": "passed", "teardown": "passed"}
TWICE: Final = 'import pytest\ntwice = pytest.mark.parametrize("turn", [1, 2])\n'


def run(suite: Suite, *options: str, **sources: str) -> tuple[int, str]:
    """Run each test of *sources* twice, and return the status and what was shown."""
    suite.write({name: TWICE + source for name, source in sources.items()})
    done = suite.run("--isolate", *options)
    return done.status, done.output


DATABASE: Final = """
import sqlite3
DB = sqlite3.connect("shop.db")
DB.execute("pragma journal_mode = {mode}")
DB.execute("create table goods (name text)")
DB.execute("insert into goods values ('tea')")
DB.commit()
def count(db): return db.execute("select count(*) from goods").fetchone()[0]

@twice
def test_use(turn):
    assert count(DB) == 1
    DB.execute("insert into goods values ('soap')")
    DB.commit()
    assert count(DB) == count(sqlite3.connect("shop.db")) == 2
def test_grow():
    DB.executemany("insert into goods values (?)", [("x" * 1000,)] * 1000)
    DB.rollback()
    assert count(DB) == 1
"""


@pytest.mark.parametrize("mode", ["delete", "truncate", "persist", "memory", "wal"])
def test_a_database_is_each_tests_own(suite: Suite, mode: str) -> None:
    status, output = run(suite, shop=DATABASE.replace("{mode}", mode))

    assert "3 passed" in output
    assert status == 0


def test_a_database_that_a_conftest_opens_is_there_for_all_modules(suite: Suite) -> None:
    suite.write({"conftest.py": TWICE + DATABASE.replace("{mode}", "delete").split("@twice")[0]})
    use = "from conftest import DB, count\ndef test_use():\n    assert count(DB) == 1\n"
    use += "    DB.execute('delete from goods')\n    DB.commit()\n    assert count(DB) == 0\n"
    status, output = run(suite, one=use, other=use)

    assert "2 passed" in output
    assert status == 0


def test_files_are_read_from_where_they_were_by_each_test(suite: Suite) -> None:
    (suite.directory / "goods.csv").write_text("name,price\ntea,3\nsoap,2\n", encoding="utf-8")
    source = """
import csv, os, zipfile
FILE = open("goods.csv", newline="")
ROWS = csv.DictReader(FILE)
RAW = open("goods.csv", "rb", buffering=0)
RAW.seek(5)
DUP = os.dup(RAW.fileno())
with zipfile.ZipFile("goods.zip", "w") as archive: archive.write("goods.csv")
ZIP = zipfile.ZipFile("goods.zip")
def rest(): yield from open("goods.csv")
LINES = rest(); next(LINES)

@twice
def test_rows(turn): assert [row["name"] for row in ROWS] == ["tea", "soap"]
@twice
def test_raw(turn): assert (RAW.read(5), os.read(DUP, 1)) == (b"price", b"\\n")
@twice
def test_zip(turn): assert ZIP.read("goods.csv").startswith(b"name")
@twice
def test_lines(turn): assert next(LINES) == "tea,3\\n"
"""
    status, output = run(suite, goods=source)

    assert "8 passed" in output
    assert status == 0


def test_a_log_is_written_to_inside_and_left_as_it_was(suite: Suite) -> None:
    source = """
import logging, logging.handlers, os
LOG = logging.getLogger("shop")
LOG.addHandler(logging.FileHandler("plain.log"))
LOG.addHandler(logging.handlers.RotatingFileHandler("round.log", maxBytes=10, backupCount=1))
LOG.warning("imported")

@twice
def test_log(turn):
    LOG.warning("inside")
    assert open("plain.log").read() == "imported\\ninside\\n"
    assert open("round.log").read() == "inside\\n"
    assert open("round.log.1").read() == "imported\\n"
"""
    status, output = run(suite, log=source)

    assert "2 passed" in output
    assert status == 0
    assert (suite.directory / "plain.log").read_text(encoding="utf-8") == "imported\n"
    assert (suite.directory / "round.log").read_text(encoding="utf-8") == "imported\n"


def test_temporary_files_and_shared_memory_are_each_tests_own(suite: Suite) -> None:
    source = """
import mmap, multiprocessing, os, tempfile
NAMED = tempfile.NamedTemporaryFile("w+"); NAMED.write("before"); NAMED.flush()
FILE = tempfile.TemporaryFile("w+"); FILE.write("before"); FILE.flush()
VALUE = multiprocessing.Value("i", 5)
MEMORY = mmap.mmap(-1, 100)

@twice
def test_named(turn):
    NAMED.write("+"); NAMED.flush()
    assert open(NAMED.name).read() == "before+"
@twice
def test_nameless(turn):
    FILE.write("+"); FILE.seek(0)
    assert FILE.read() == "before+"
@twice
def test_value(turn):
    VALUE.value += 1
    assert VALUE.value == 6
"""
    status, output = run(suite, "--isolate-report-leaks=summary", temporary=source)

    assert "6 passed" in output
    assert status == 0
    assert output.count("1 path written (7 B)") == 2
    assert output.count("wrote /tmp/") == 2


def test_a_failure_tells_what_it_could_not_open_again(suite: Suite) -> None:
    source = """
import os, socket
with open("large", "wb") as file: file.truncate(1); file.write(os.urandom(65 << 20))
LARGE = open("large", "r+b"); LOG = open("large", "ab")
LISTENING = socket.create_server(("127.0.0.1", 0))
HERE = socket.create_connection(LISTENING.getsockname())
def test_passes(): pass
def test_fails(): assert 0
def test_sends(): HERE.send(b"x")
"""
    suite.write({"large": source})
    done = suite.run("--isolate")

    def told(name: str) -> list[str]:
        sections = done.reports(name)["call"]["sections"]
        return [
            line for title, text in sections if title == "Isolation" for line in text.split("\n")
        ]

    large = f"{suite.directory}/large (descriptor "
    assert told("test_passes") == []
    assert [line.partition(large)[2].split(" ", 1)[1] for line in told("test_fails")] == [
        f"{what} in this test, for 65 MiB are too much to copy for each test."
        " Open it in the test, or in a fixture."
        for what in ("open for reading only", "/dev/null")
    ]
    assert len([line for line in told("test_sends") if line.startswith("a socket (")]) == 2


def test_queues_pipes_locks_and_event_loops_of_import_are_each_tests_own(suite: Suite) -> None:
    suite.copy("open_files")

    run = suite.run("--isolate")

    assert "12 passed" in run.output


def test_temporary_directories_of_import_are_there_and_each_tests_own(suite: Suite) -> None:
    suite.write({
        "conftest.py": """
            import pathlib, tempfile

            KEPT = pathlib.Path(tempfile.mkdtemp())
            (KEPT / "file").write_text("of the conftest")
        """,
        "places": """
            import os, pathlib, pytest, tempfile
            from conftest import KEPT

            OWNED = tempfile.TemporaryDirectory()
            MADE = tempfile.mkdtemp(suffix=".d")
            BELOW = os.path.join(MADE, "data", "below")
            os.makedirs(BELOW)

            @pytest.fixture(params=[1, 2])
            def turn(request): return request.param

            def test_places(turn):
                assert (KEPT / "file").read_text() == "of the conftest"
                for place in (KEPT, OWNED.name, MADE, BELOW):
                    pathlib.Path(place, "new").touch(exist_ok=False)
                assert sorted(os.listdir(MADE)) == ["data", "new"]
        """,
    })

    # What the suite leaves behind is not left on the machine.
    place = suite.directory.parent / "temporary"
    place.mkdir()
    run = suite.run("--isolate", TMPDIR=str(place))

    assert "2 passed" in run.output
    assert [path.name for path in place.rglob("new")] == []


def test_a_plain_failure_tells_nothing(suite: Suite) -> None:
    suite.write({"plain": "FILE = open(__file__)\ndef test_fails(): assert 0"})
    done = suite.run("--isolate")

    assert done.reports("test_fails")["call"]["sections"] == []


@pytest.mark.parametrize(
    "opened",
    [
        "LOCK = multiprocessing.Lock()",
        "M = shared_memory.SharedMemory(create=True, size=64); M.close(); M.unlink()",
        "R, W = os.pipe(); os.register_at_fork(after_in_child=lambda: os.close(W))",
        "F = open(__file__, 'r+'); os.register_at_fork(after_in_child=F.close)",
    ],
)
def test_what_is_closed_at_the_fork_harms_no_test(suite: Suite, opened: str) -> None:
    modules = "import multiprocessing, os\nfrom multiprocessing import shared_memory\n"
    suite.write({"closed": f"{modules}{opened}\ndef test_one(): pass\ndef test_two(): pass"})
    done = suite.run("--isolate")

    assert "2 passed" in done.output
    assert done.status == 0
