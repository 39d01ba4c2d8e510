"""The base temporary directory is the test's own, but for the directories that pytest numbers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING
from typing import Final

import pytest

from tests.acceptance.test_refusals import DOCKER
from tests.acceptance.test_refusals import REFUSE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.acceptance.conftest import Suite

pytestmark = pytest.mark.needs("sandbox")

PATIENCE: Final = 60.0
SCOPES: Final = ["session", "package", "module", "class"]
#: Makes something with a name that a second maker finds taken.
MAKERS: Final = {
    "directory": "path = tmp_path_factory.mktemp('site', numbered=False)",
    "tmpdir": "path = request.getfixturevalue('tmpdir_factory').mktemp('site', numbered=False)",
    "file": "path = tmp_path_factory.getbasetemp() / 'shop.db'; path.open('x').close()",
    "above": """
        path = tmp_path_factory.getbasetemp().parent / 'data.json'
        path.open('x').close()
    """,
}


def base_of(suite: Suite) -> Path:
    """Return the base temporary directory of isolated runs of *suite*."""
    return suite.directory.parent / "base-isolated"


def pytest_in(
    suite: Suite, root: Path, *arguments: str, under: Sequence[str] = ()
) -> subprocess.Popen[str]:
    """Start pytest for *suite*, with base temporary directories below *root*."""
    root.mkdir(exist_ok=True)
    return subprocess.Popen(
        [*under, sys.executable, "-m", "pytest", "-p", "pytest_isolate.plugin", *arguments],
        cwd=suite.directory,
        env={
            **os.environ,
            "PYTEST_DEBUG_TEMPROOT": str(root),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def names(base: Path) -> list[str]:
    """Return what users see there: pytest removes the links that lead nowhere."""
    return sorted(os.listdir(base))


@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS.keys())
@pytest.mark.parametrize("scope", SCOPES)
def test_each_test_makes_what_has_a_fixed_name(suite: Suite, maker: str, scope: str) -> None:
    body = maker.strip().replace("\n    ", "\n")
    lines = "\n".join(f"    {line.strip()}" for line in body.splitlines())
    suite.write({
        "conftest.py": "import os, pytest\n"
        f"@pytest.fixture(scope={scope!r})\n"
        f"def made(request, tmp_path_factory):\n{lines}\n    return os.fspath(path)\n",
        "a": "import os\nclass TestIt:\n"
        + "".join(f"    def test_{n}(self, made): assert os.path.exists(made)\n" for n in "abc"),
    })

    run = suite.run("--isolate")

    assert run.status == pytest.ExitCode.OK, run.output
    assert names(base_of(suite)) == []


def test_numbered_directories_are_where_the_test_found_them(suite: Suite) -> None:
    source = """
        import os, signal, time, pytest
        def test_it(tmp_path, tmp_path_factory):
            (tmp_path / "file").write_text(os.fspath(tmp_path))
            data = tmp_path_factory.mktemp("data")
            (data / "file").write_text(os.fspath(data))
        def test_killed(tmp_path):
            (tmp_path / "file").write_text(os.fspath(tmp_path))
            os.kill(os.getpid(), signal.SIGKILL)
        @pytest.mark.isolated(timeout=1)
        def test_slow(tmp_path):
            (tmp_path / "file").write_text(os.fspath(tmp_path))
            time.sleep(600)
        def test_closed(tmpdir):
            tmpdir.join("file").write(tmpdir)
            tmpdir.chmod(0o500)
    """
    suite.write({"a": source, "b": source})

    suite.run("--isolate", "--deselect=test_b.py::test_slow")

    base = base_of(suite)
    expected = {f"{name}{n}" for name in ("data", "test_it", "test_killed") for n in (0, 1)}
    expected |= {"test_slow0", "test_closed0", "test_closed1"}
    assert set(names(base)) == expected | {
        f"{name}current" for name in ("data", "test_it", "test_killed", "test_slow", "test_closed")
    }
    for name in expected:
        assert not (base / name).is_symlink()
        assert (base / name / "file").read_text("utf-8") == os.fspath(base / name)
    assert os.readlink(base / "test_itcurrent") == os.fspath(base / "test_it1")


def test_what_others_have_there_is_seen_and_not_changed(suite: Suite) -> None:
    suite.copy("base_directory")

    run = suite.run("-p", "no:cacheprovider")

    assert run.status == pytest.ExitCode.OK, run.output
    base = suite.directory.parent / "base-plain"
    assert (base / "test_inside_1_0" / "note").read_text("utf-8") == "note"
    assert (base / "note").read_text("utf-8") == "note"


def test_directories_can_be_removed_and_moved_as_ever(suite: Suite) -> None:
    suite.write({
        "a": """
            import os, shutil, subprocess, pytest
            def test_tree(tmp_path): shutil.rmtree(tmp_path)
            def test_program(tmp_path): subprocess.run(["rm", "-r", tmp_path], check=True)
            def test_plain(tmp_path): tmp_path.rmdir()
            def test_everything(tmp_path):
                for path in tmp_path.parent.iterdir(): path.is_symlink() or shutil.rmtree(path)
            def test_rename(tmp_path):
                (tmp_path / "file").touch()
                tmp_path.rename(tmp_path.parent / "elsewhere").rename(tmp_path)
            def test_links(tmp_path, tmp_path_factory):
                own = tmp_path_factory.getbasetemp() / "own"
                own.write_text("own")
                os.link(own, tmp_path / "linked")
                own.rename(tmp_path / "moved")
                assert (tmp_path / "moved").samefile(tmp_path / "linked")
        """
    })

    run = suite.run("--isolate")

    assert run.status == pytest.ExitCode.OK, run.output
    base = base_of(suite)
    kept = [name for name in names(base) if not name.endswith("current")]
    assert kept == ["test_links0", "test_rename0"]
    assert sorted(os.listdir(base / "test_links0")) == ["linked", "moved"]
    assert os.listdir(base / "test_rename0") == ["file"]


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("policy", ["all", "failed", "none"])
def test_what_pytest_removes_is_removed_without_a_warning(
    suite: Suite, tmp_path: Path, policy: str, *, given: bool
) -> None:
    suite.write({
        "a": """
            import pytest
            @pytest.mark.isolated
            @pytest.mark.parametrize("n", [1, 2])
            def test_isolated(tmp_path, tmp_path_factory, n):
                (tmp_path / "file").touch()
                (tmp_path_factory.getbasetemp() / "own").touch(exist_ok=False)
            def test_plain(tmp_path): (tmp_path / "file").touch()
            @pytest.mark.isolated
            def test_over(tmp_path): (tmp_path / "file").touch()
        """
    })
    root, base = tmp_path / "root", tmp_path / "base"
    given_base = [f"--basetemp={base}"] if given else []

    process = pytest_in(
        suite, root, f"-otmp_path_retention_policy={policy}", "-Werror", *given_base
    )
    output, _ = process.communicate(timeout=PATIENCE)

    assert process.returncode == pytest.ExitCode.OK, output
    assert "warning" not in output.lower()
    found = {path.parent.name for top in (root, base) for path in top.rglob("file")}
    isolated = {"test_isolated_1_0", "test_isolated_2_0", "test_over0"}
    kept = policy == "all" or (policy == "none" and given)
    assert found == (isolated | {"test_plain0"} if kept else set())
    assert not [path for top in (root, base) for path in top.rglob(".isolate")]


def test_pytests_process_finds_the_directory_while_the_test_runs(suite: Suite) -> None:
    suite.write({
        "conftest.py": """
            import threading, time

            def answer(base):
                end = time.monotonic() + 60
                while time.monotonic() < end:
                    for place in base.glob("*0/question"):
                        (place.parent / "answer").write_text("answer")
                        return
                    time.sleep(0.01)

            def pytest_sessionstart(session):
                base = session.config._tmp_path_factory.getbasetemp()
                threading.Thread(target=answer, args=(base,), daemon=True).start()
        """,
        "a": """
            import time
            def test_asks(tmp_path):
                (tmp_path / "question").touch()
                end = time.monotonic() + 60
                while not (tmp_path / "answer").exists():
                    assert time.monotonic() < end
                    time.sleep(0.01)
        """,
    })

    run = suite.run("--isolate")

    assert run.status == pytest.ExitCode.OK, run.output
    assert sorted(os.listdir(base_of(suite) / "test_asks0")) == ["answer", "question"]


def test_a_killed_pytest_leaves_the_directories(suite: Suite, tmp_path: Path) -> None:
    suite.write({
        "a": """
            import time
            def test_slow(tmp_path):
                (tmp_path / "file").write_text("x")
                time.sleep(600)
        """
    })
    base = tmp_path / "base"
    process = pytest_in(suite, tmp_path, "--isolate", f"--basetemp={base}")
    end = time.monotonic() + PATIENCE
    while not (base / "test_slow0" / "file").exists() and time.monotonic() < end:
        time.sleep(0.01)

    os.kill(process.pid, signal.SIGKILL)
    process.communicate()

    while (base / ".isolate").exists() and time.monotonic() < end:
        time.sleep(0.01)
    assert not (base / "test_slow0").is_symlink()
    assert (base / "test_slow0" / "file").read_text("utf-8") == "x"
    assert not (base / ".isolate").exists()


def test_a_process_and_a_thread_of_the_test_may_make_directories(suite: Suite) -> None:
    suite.write({
        "a": """
            import multiprocessing, threading
            def test_it(tmp_path_factory):
                def make(): (tmp_path_factory.mktemp("data") / "file").touch()
                context = multiprocessing.get_context("fork")
                makers = [context.Process(target=make), threading.Thread(target=make)]
                for maker in makers: maker.start()
                for maker in makers: maker.join()
            def test_again(tmp_path_factory): assert tmp_path_factory.mktemp("data").name == "data2"
        """
    })

    run = suite.run("--isolate")

    assert run.status == pytest.ExitCode.OK, run.output
    assert names(base_of(suite)) == ["data0", "data1", "data2", "datacurrent"]
    assert (base_of(suite) / "data1" / "file").exists()


def test_a_session_within_a_test_has_directories_of_its_own(suite: Suite) -> None:
    suite.write({
        "a": """
            pytest_plugins = ["pytester"]
            def test_it(pytester):
                pytester.makepyfile("def test_in(tmp_path): (tmp_path / 'file').touch()")
                pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)
                pytester.runpytest_subprocess("--isolate").assert_outcomes(passed=1)
        """
    })

    run = suite.run("--isolate")

    assert run.status == pytest.ExitCode.OK, run.output
    found = {path.parent.name for path in base_of(suite).rglob("file")}
    assert found == {"test_in0"}


@pytest.mark.parametrize("given", [True, False])
def test_workers_share_nothing_but_what_stays(suite: Suite, tmp_path: Path, *, given: bool) -> None:
    pytest.importorskip("xdist")
    suite.write({
        "a": """
            import json, pytest
            @pytest.fixture(scope="session")
            def data(tmp_path_factory):
                file = tmp_path_factory.getbasetemp().parent / "data.json"
                assert not file.exists()
                file.write_text(json.dumps({"a": 1}))
                tmp_path_factory.mktemp("site", numbered=False)
            @pytest.mark.parametrize("n", range(6))
            def test_it(data, tmp_path, n): (tmp_path / "file").touch()
        """
    })
    root, base = tmp_path / "root", tmp_path / "base"
    options = ["--isolate", "-p", "xdist.plugin", "-n2"]

    process = pytest_in(suite, root, *options, *([f"--basetemp={base}"] if given else []))
    output, _ = process.communicate(timeout=PATIENCE)

    assert process.returncode == pytest.ExitCode.OK, output
    top = base if given else root
    assert len([*top.rglob("popen-gw*/test_it_?_0/file")]) == 6
    assert not [*top.rglob("data.json"), *top.rglob("site"), *top.rglob(".isolate")]


def test_a_partial_sandbox_leaves_only_numbered_directories(suite: Suite, tmp_path: Path) -> None:
    suite.write({
        "a": """
            import pytest
            @pytest.fixture(scope="session")
            def site(tmp_path_factory):
                (tmp_path_factory.getbasetemp() / "file").open("x").close()
                return tmp_path_factory.mktemp("site", numbered=False)
            @pytest.mark.parametrize("n", range(3))
            def test_it(site, tmp_path, n): (tmp_path / "file").touch()
        """
    })
    base = tmp_path / "base"
    under = [sys.executable, REFUSE, "EPERM", DOCKER, "--"]
    options = ["--isolate", "--isolate-unavailable=degrade", f"--basetemp={base}"]

    process = pytest_in(suite, tmp_path, *options, under=under)
    output, _ = process.communicate(timeout=PATIENCE)

    assert process.returncode == pytest.ExitCode.OK, output
    assert "partial" in output
    kept = [f"test_it_{n}_0" for n in range(3)]
    assert [name for name in names(base) if not name.endswith("current")] == kept
