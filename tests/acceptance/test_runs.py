"""A run is the same with `--isolate`, whatever pytest's options are and however it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Final

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite

STOPS: Final = {
    "exit": "import pytest\ndef test_a(): pytest.exit('enough', returncode=77)\n",
    "exit_in_setup": """
        import pytest
        @pytest.fixture
        def leaving(): pytest.exit("in setup")
        def test_a(leaving): pass
    """,
    "exit_in_teardown": """
        import pytest
        @pytest.fixture
        def leaving(): yield; pytest.exit("in teardown")
        def test_a(leaving): pass
    """,
    "interrupt": """
        import warnings
        def test_a():
            warnings.warn("x")
            raise KeyboardInterrupt
    """,
    "shouldstop": "def test_a(request): request.session.shouldstop = 'had it'\n",
    "shouldfail": "def test_a(request): request.session.shouldfail = 'had it'\n",
    "system_exit": "def test_a(): raise SystemExit(9)\n",
}


@pytest.mark.parametrize("name", STOPS)
def test_end_of_the_session_is_the_same(name: str, suite: Suite) -> None:
    suite.write({"a": STOPS[name], "b": "def test_b(): pass\n"})

    plain, isolated = suite.twice("-v")

    assert isolated == plain


OPTIONS: Final = {
    "few": "-q --tb=native",
    "verbose": "-vv -rA --tb=short -l",
    "exitfirst": "-x",
    "maxfail": "--maxfail=2",
    "keyword": "-k two",
    "nocapture": "-s -v",
    "capture_sys": "--capture=sys",
    "tee": "--capture=tee-sys",
    "no_capture_plugin": "-p no:capture",
    "live_log": "-o log_cli=true",
    "live_log_level": "--log-cli-level=INFO -v",
    "no_plugins": "-p no:logging -p no:warnings -p no:terminal",
    "errors": "-W error",
    "setup_show": "--setup-show",
    "full": "--full-trace --runxfail",
    "colour": "--color=yes -v",
    "xunit1": "-o junit_family=xunit1 -o junit_logging=all",
    "failed_first": "--ff --cache-clear",
    "stepwise": "--sw --cache-clear",
    "stepwise_skip": "--sw-skip --cache-clear",
    "durations": "--durations=0 --durations-min=1.2 -vv",
    "deselected": "--deselect=test_varied.py::test_two",
    "strict": "--strict-markers -o xfail_strict=true",
    "import_mode": "--import-mode=importlib",
    "collect_only": "--collect-only -q",
    "warnings_off": "--disable-warnings -o filterwarnings=ignore",
    "no_header": "--no-header --no-summary",
}
VARIED: Final = """
    import logging, pytest, sys, time, warnings

    @pytest.fixture
    def talks():
        print("setup out"); logging.warning("setup log")
        yield
        print("teardown out"); logging.warning("teardown log")
    def test_one(talks):
        print("out"); print("err", file=sys.stderr); logging.error("log"); warnings.warn("w")
    def test_two(talks): print("two"); assert [1] == [2]
    @pytest.mark.skip
    def test_three(): pass
    def test_slow(): time.sleep(0.5)
    @pytest.mark.xfail
    def test_four(): assert 0
    def test_five(): assert 0
    class TestSix:
        @pytest.mark.parametrize("x", [1, 2])
        def test_it(self, x, capsys): print(x); assert capsys.readouterr().out == "1\\n"
    def test_seven(): pass
"""
SUBTESTS: Final = """
    def test_subtests(subtests):
        for i in range(3):
            with subtests.test(i=i): assert i == 1
"""


@pytest.mark.parametrize("name", OPTIONS)
def test_run_is_the_same_with(name: str, suite: Suite) -> None:
    suite.write({"varied": VARIED, "last": "def test_last(): pass\n"})
    if pytest.version_tuple >= (9,):
        suite.write({"middle": SUBTESTS})
    if name == "durations":  # longer than what a slow kernel adds
        suite.write({"longest": "import time\ndef test_longest(): time.sleep(1.5)\n"})

    plain, isolated = suite.twice(*OPTIONS[name].split())

    assert isolated == plain
    assert ("Isolation failed" in isolated.output, isolated.stderr) == (False, plain.stderr)


@pytest.mark.parametrize("option", ["--lf", "--ff", "--nf", "--sw"])
def test_second_run_knows_the_first(option: str, suite: Suite) -> None:
    suite.write({"varied": VARIED, "last": "def test_last(): pass\n"})
    runs = []
    for arguments in ([], ["--isolate"]):
        first = suite.run(*arguments, "--cache-clear", option)
        suite.write({"new": "def test_new(): assert 0\n"})
        runs.append((first, suite.run(*arguments, option, "-v")))
        (suite.directory / "test_new.py").unlink()

    assert runs[1] == runs[0]


def test_cache_reaches_the_next_run(suite: Suite) -> None:
    suite.write({
        "counts": """
            def test_counts(cache):
                count = cache.get("my/count", 0)
                cache.set("my/count", count + 1)
                assert count == 2
        """
    })

    statuses = [suite.run("--isolate").status for _ in range(3)]

    assert statuses == [1, 1, 0]


@pytest.mark.parametrize("policy", ["all", "failed", "none"])
def test_same_directories_are_kept(policy: str, suite: Suite) -> None:
    suite.write({
        "places": """
            import pytest
            def test_passes(tmp_path): (tmp_path / "file").write_text("x")
            def test_fails(tmp_path): (tmp_path / "file").write_text("x"); assert 0
            def test_skips(tmp_path): pytest.skip("x")
            def test_made(tmp_path_factory): tmp_path_factory.mktemp("made")
            @pytest.fixture
            def broken(tmp_path): yield; assert 0
            def test_broken(broken): pass
            class TestOwn:
                def test_linked(self, tmp_path): (tmp_path / "link").symlink_to("file")
        """
    })
    kept = []
    for name in ("plain", "isolated"):
        arguments = ["--isolate"] if name == "isolated" else []
        suite.run(*arguments, "-o", f"tmp_path_retention_policy={policy}")
        base = suite.directory.parent / f"base-{name}"
        kept.append(sorted(str(path.relative_to(base)) for path in base.rglob("*")))

    assert kept[1] == kept[0]


def test_log_file_has_the_same_lines(suite: Suite) -> None:
    suite.write({"varied": VARIED})
    path = suite.directory / "told.log"

    texts = []
    for arguments in ([], ["--isolate"]):
        suite.run(*arguments, "--log-file=told.log", "--log-file-format=%(message)s")
        texts.append(path.read_text("utf-8"))

    assert texts[0].splitlines()[:3] == ["setup log", "log", "teardown log"]
    assert texts[1] == texts[0]
