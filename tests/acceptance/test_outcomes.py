"""A well-behaved test cannot be told from the reports to have been isolated.

The same suite runs without and with `--isolate`; outcomes, sections, messages, warnings, order,
counts, the terminal's text, junitxml and the exit status are the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Final

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Run
    from tests.acceptance.conftest import Suite

#: Suites that pytest 8.4 does not know.
FROM_9: Final = {"subtests", "subtests_and_teardown", "unittest_parts"}

SUITES: Final = {
    "simple": """
        import pytest

        def test_pass(): pass
        def test_fail(): assert [1, 2, 3] == [1, 2, 4]
        def test_raise(): raise KeyError("missing")
        def test_fail_without_traceback(): pytest.fail("said so", pytrace=False)
        def test_chain():
            try:
                1 / 0
            except ZeroDivisionError as error:
                raise ValueError("bad") from error
        def test_system_exit(): raise SystemExit(3)
        def test_unpicklable():
            class Local(Exception):
                def __init__(self, a, b): self.lock = __import__("threading").Lock()
            raise Local(1, 2)
        def test_group():
            raise ExceptionGroup("several", [ValueError("one"), ExceptionGroup("in", [OSError(2)])])
        def test_megabytes(): assert "a" * 3_000_000 == "b" * 3_000_000
        def test_returns_something(): return 3
    """,
    "skips": """
        import pytest, unittest

        def test_skip(): pytest.skip("in the body")
        @pytest.mark.skip(reason="by mark")
        def test_mark(): pass
        @pytest.mark.skipif("1 == 1", reason="by condition")
        def test_condition(): pass
        @pytest.mark.skipif("no_such_name")
        def test_bad_condition(): pass
        def test_unittest_skip(): raise unittest.SkipTest("as unittest does")
        def test_importorskip(): pytest.importorskip("no_such_module")
        @pytest.fixture
        def skipping(): pytest.skip("in a fixture")
        def test_skip_in_setup(skipping): pass
    """,
    "xfails": """
        import pytest

        @pytest.mark.xfail
        def test_bare(): assert 0
        @pytest.mark.xfail(reason="known")
        def test_reason(): assert 0
        @pytest.mark.xfail
        def test_xpass(): pass
        @pytest.mark.xfail(strict=True, reason="fixed?")
        def test_strict_xpass(): pass
        @pytest.mark.xfail(False, reason="not here")
        def test_condition(): assert 0
        @pytest.mark.xfail(raises=ValueError)
        def test_other_exception(): raise KeyError
        @pytest.mark.xfail(run=False)
        def test_not_run(): raise SystemExit(9)
        def test_imperative(): pytest.xfail("now")
        def test_dynamic(request):
            request.applymarker(pytest.mark.xfail(reason="added"))
            assert 0
        @pytest.fixture
        def failing(): assert 0
        @pytest.mark.xfail
        def test_setup(failing): pass
    """,
    "fixtures": """
        import pytest

        @pytest.fixture(scope="session")
        def session(): yield "s"
        @pytest.fixture(params=[1, 2])
        def number(request, session): print("number", request.param); yield request.param
        @pytest.fixture
        def broken(): print("before"); raise ValueError("broken")
        @pytest.fixture
        def broken_later(): yield 1; print("after"); raise ValueError("broken later")
        @pytest.fixture
        def broken_later_too(): yield 1; raise KeyError("broken later too")
        @pytest.fixture(autouse=True)
        def order(): print("order")

        def test_parameters(number): assert number == 1
        def test_setup_error(broken): pass
        def test_teardown_error(broken_later): print("in the test")
        def test_two_teardown_errors(broken_later, broken_later_too): pass
        def test_failure_and_teardown_error(broken_later): assert 0
        def test_no_such_fixture(nothing_of_that_name): pass
        class TestClass:
            @pytest.fixture
            def own(self): return self
            def setup_method(self, method): print("setup", method.__name__)
            def teardown_method(self): print("teardown")
            @classmethod
            def setup_class(cls): cls.value = 1
            def test_method(self, own): assert type(own) is type(self)
        @pytest.mark.parametrize("text", ["", "\\udc80", "\\x00", "é", "a/b"])
        def test_texts(text, request): print(ascii(text)); assert ascii(text) == "nothing"
    """,
    "directories": """
        import os, pytest

        def test_tmp_path(tmp_path):
            (tmp_path / "file").write_text("x")
            print(tmp_path.name, os.listdir(tmp_path.parent))
        def test_tmp_path_factory(tmp_path_factory):
            print(tmp_path_factory.mktemp("made").name)
        @pytest.mark.parametrize("x", range(3))
        def test_numbered(x, tmp_path): print(tmp_path.name)
        def test_monkeypatch(monkeypatch, tmp_path):
            monkeypatch.chdir(tmp_path)
            monkeypatch.setenv("A_VARIABLE", "1")
            print(os.path.basename(os.getcwd()), os.environ["PYTEST_CURRENT_TEST"])
        def test_cache(cache): cache.set("some/value", [1]); assert cache.get("some/value", 0) == 0
    """,
    "unittests": """
        import unittest

        class Case(unittest.TestCase):
            @classmethod
            def setUpClass(cls): cls.value = 1
            @classmethod
            def tearDownClass(cls): cls.value = 2
            def setUp(self): print("up"); self.addCleanup(print, "cleanup")
            def tearDown(self): print("down")
            def test_pass(self): self.assertEqual(self.value, 1)
            def test_fail(self): self.assertEqual({"a": 1}, {"a": 2})
            def test_skip(self): self.skipTest("no")
            @unittest.expectedFailure
            def test_expected(self): self.fail()
            @unittest.expectedFailure
            def test_unexpected(self): pass
            def test_error(self): raise OSError(2, "no file")

        class BrokenClass(unittest.TestCase):
            @classmethod
            def setUpClass(cls): raise ValueError("class is broken")
            def test_it(self): pass

        class Async(unittest.IsolatedAsyncioTestCase):
            async def test_async(self): self.assertTrue(False)
    """,
    "unittest_parts": """
        import unittest

        class Parts(unittest.TestCase):
            def test_parts(self):
                for i in range(3):
                    with self.subTest("message", i=i):
                        print("part", i); self.assertNotEqual(i, 3)
                self.fail("whole")
            def test_skipped_part(self):
                with self.subTest(i=1): self.skipTest("part")
    """,
    "subtests": """
        import pytest

        def test_fixture(subtests):
            for i in range(4):
                with subtests.test("message", i=i, thing=object):
                    print("sub", i)
                    assert i % 2 == 0
        def test_all_pass(subtests):
            with subtests.test(i=1): pass
        def test_skip_inside(subtests):
            with subtests.test(): pytest.skip("sub skipped")
        def test_fail_outside(subtests):
            with subtests.test(): assert 0
            assert 1 == 2
    """,
    "subtests_and_teardown": """
        import pytest

        @pytest.fixture
        def broken(): yield; raise ValueError("later")
        def test_both(subtests, broken):
            with subtests.test("inner"): assert 0
        def test_after(): pass
    """,
    "documented": '''
        def add(a, b):
            """
            >>> add(1, 2)
            3
            >>> add(1, 2)
            4
            >>> add(1)
            3
            """
            return a + b

        def fine():
            """
            >>> print("x")
            x
            """
    ''',
    "modules": """
        import pytest

        def setup_module(module): module.value = 1
        def teardown_module(): pass
        def setup_function(function): print("function up", function.__name__)
        def teardown_function(): print("function down")
        def test_value(): assert value == 1
        def test_fails(): assert value == 2
        class TestXunit:
            @classmethod
            def setup_class(cls): cls.own = value
            @classmethod
            def teardown_class(cls): del cls.own
            def setup_method(self): print("method up")
            def test_method(self): assert value == 3
    """,
    "inner": """
        SOURCE = "import pytest\\ndef test_pass(): pass\\ndef test_fail(): assert 0"
        def test_in_process(pytester):
            pytester.makepyfile(SOURCE)
            pytester.runpytest_inprocess().assert_outcomes(passed=1, failed=1)
        def test_subprocess(pytester):
            pytester.makepyfile(SOURCE)
            pytester.runpytest_subprocess().assert_outcomes(passed=1, failed=1)
        def test_isolated_within(pytester):
            pytester.makepyfile("import pytest\\n@pytest.mark.isolated\\ndef test_a(): pass")
            pytester.runpytest_subprocess().assert_outcomes(passed=1)
        def test_failure(pytester): assert pytester.makepyfile(SOURCE).name == "other"
    """,
    "output": """
        import logging, os, sys, pytest

        def test_streams():
            print("out"); print("err", file=sys.stderr)
            os.write(1, b"raw out \\xff\\n"); os.system("echo from a child >&2")
            assert 0
        def test_capsys(capsys):
            print("taken"); out = capsys.readouterr().out
            print("left"); assert out == "other"
        def test_capfd(capfd):
            os.write(1, b"taken"); out = capfd.readouterr().out
            assert out == "other"
        def test_disabled(capsys):
            with capsys.disabled(): pass
        def test_logs(caplog):
            logging.getLogger("some").warning("careful %d", 3)
            assert caplog.messages == []
        def test_input(): input()
        @pytest.fixture
        def talking(): print("setup"); logging.error("in setup"); yield; print("teardown")
        def test_phases(talking): print("call"); assert 0
    """,
    "warned": """
        import warnings, pytest

        class Own(UserWarning):
            def __init__(self, a, *, b): super().__init__(f"{a} and {b}"); self.a = a
            def __str__(self): return f"own: {self.a}"
        def test_user(): warnings.warn("careful")
        def test_own():
            warnings.warn(Own(1, b=2))
        def test_local():
            class Local(DeprecationWarning): pass
            warnings.warn("local", Local)
        def test_args(): warnings.warn(UserWarning("a", 1, None))
        def test_resource(): warnings.warn(ResourceWarning("leak"), source=object())
        @pytest.mark.filterwarnings("error")
        def test_error(): warnings.warn("as error")
        @pytest.mark.filterwarnings("ignore:careful")
        def test_ignored(): warnings.warn("careful")
        def test_recwarn(recwarn): warnings.warn("seen"); assert len(recwarn) == 1
        def test_warns():
            with pytest.warns(UserWarning, match="other"): warnings.warn("this")
        def test_thread():
            import threading
            thread = threading.Thread(target=lambda: 1 / 0, name="own")
            thread.start(); thread.join()
        def test_unraisable():
            class Bad:
                def __del__(self): raise ValueError("in del")
            Bad()
    """,
    "properties": """
        import enum, pytest

        class Colour(enum.Enum): RED = 1
        @pytest.mark.parametrize(
            "value", [1, 1.5, True, None, "x", (1, 2), [1], {"a": 1}, Colour.RED, {1}, b"\\xff"]
        )
        def test_property(record_property, value): record_property("key", value)
        def test_unprintable(record_property):
            class Bad:
                def __str__(self): return "bad"
                __slots__ = ()
            record_property("key", Bad())
            assert 0
        def test_suite(record_testsuite_property): record_testsuite_property("ARCH", "x<y")
        def test_attribute(record_xml_attribute): record_xml_attribute("assertions", 3)
    """,
    "patched": """
        import builtins, io, json, os, time, pytest

        CALLS = {
            "os": ["write", "read", "fstat", "getpid", "pread", "fork", "_exit", "pipe", "kill"],
            "time": ["time", "monotonic", "perf_counter"],
            "json": ["dumps", "loads", "JSONEncoder", "JSONDecoder"],
            "builtins": ["open", "print"],
            "io": ["open", "BytesIO", "StringIO"],
        }
        def refuse(*_, **__): raise OSError("patched")
        @pytest.fixture(params=CALLS)
        def patched(request, monkeypatch):
            module = globals()[request.param]
            for name in CALLS[request.param]: monkeypatch.setattr(module, name, refuse)
            yield
        def test_patched(patched): pass
        def test_patched_and_failed(patched): raise ValueError(1)
        def test_time_stands_still(monkeypatch):
            monkeypatch.setattr(time, "monotonic", lambda: 1.0)
            monkeypatch.setattr(time, "time", lambda: 1.0)
    """,
    "processes": """
        import multiprocessing, os, signal, subprocess, threading, pytest

        def work(x): return x * x
        def test_pool():
            with multiprocessing.get_context("fork").Pool(2) as pool:
                assert pool.map(work, [1, 2]) == [1, 4]
        def test_subprocess(): assert subprocess.check_output(["echo", "x"]) == b"x\\n"
        def test_alarm():
            def ring(*_): raise TimeoutError("rang")
            signal.signal(signal.SIGALRM, ring)
            with pytest.raises(TimeoutError):
                signal.setitimer(signal.ITIMER_REAL, 0.01)  # on a slow kernel it rings at once
                signal.pause()
        def test_handled_sigterm():
            got = []
            signal.signal(signal.SIGTERM, lambda *_: got.append(1))
            os.kill(os.getpid(), signal.SIGTERM)
            assert got
        def test_fork():
            pid = os.fork()
            if not pid: os._exit(7)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        def test_daemon_thread(): threading.Thread(target=signal.pause, daemon=True).start()
    """,
}
CONFTEST: Final = """
    import pytest

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(item, call):
        report = yield
        report.extra_attribute = [item.name, call.when]
        setattr(item, "report_" + report.when, report)
        return report

    @pytest.fixture
    def sees_its_report(request):
        yield
        assert request.node.report_call.passed

    @pytest.fixture(autouse=True)
    def current(request):
        yield
"""


@pytest.fixture(scope="module")
def runs(module_suite: Suite) -> tuple[Run, Run]:
    """Return the plain and the isolated run of all suites at once."""
    known = {name for name in SUITES if pytest.version_tuple >= (9,) or name not in FROM_9}
    module_suite.write({name: source for name, source in SUITES.items() if name in known})
    module_suite.write({"conftest.py": CONFTEST})
    return module_suite.twice("-ra", "--doctest-modules", "-p", "pytester")


@pytest.mark.parametrize("name", SUITES)
def test_every_report_is_the_same(name: str, runs: tuple[Run, Run]) -> None:
    if name in FROM_9 and pytest.version_tuple < (9,):
        pytest.skip("needs pytest 9")
    plain, isolated = (
        [event for event in run.events if f"test_{name}.py" in event.get("nodeid", "")]
        for run in runs
    )

    assert plain
    assert isolated == plain


def test_every_test_was_isolated(runs: tuple[Run, Run]) -> None:
    plain, isolated = runs

    tests = {event["nodeid"] for event in plain.events if event["hook"] == "start"}
    assert isolated.properties.keys() == tests
    assert plain.properties == {}


def test_terminal_says_the_same(runs: tuple[Run, Run]) -> None:
    plain, isolated = runs

    assert isolated.output == plain.output


def test_counts_and_exit_status_are_the_same(runs: tuple[Run, Run]) -> None:
    plain, isolated = runs

    assert (isolated.status, isolated.events[-1]) == (plain.status, plain.events[-1])


def test_junitxml_is_the_same(runs: tuple[Run, Run]) -> None:
    plain, isolated = runs

    assert len(plain.junit) > len(SUITES)
    assert isolated.junit == plain.junit


@pytest.mark.skipif(pytest.version_tuple < (9,), reason="subtests came with pytest 9")
def test_failed_parts_of_a_test_case_are_the_same(suite: Suite) -> None:
    suite.write({
        "parts": """
            import unittest

            class Parts(unittest.TestCase):
                def test_parts(self):
                    for i in range(3):
                        with self.subTest("message", i=i): self.assertNotEqual(i, 1)
                def test_part_and_whole(self):
                    with self.subTest(): self.fail("part")
                    self.fail("whole")
        """
    })

    runs = suite.twice()

    # Alone, pytest writes such a part's letter into what it captures of the test.
    plain, isolated = ([{**event, "sections": None} for event in run.events] for run in runs)
    assert isolated == plain
