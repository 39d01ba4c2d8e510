"""Compilers, and what drives them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Final

from tests.programs.uses.helping import run

if TYPE_CHECKING:
    from pathlib import Path

_LIBRARY: Final = "int twice(int n) { return 2 * n; }\n"
_PROGRAM: Final = """
#include <stdio.h>
int twice(int n);
int main(void) { printf("%d\\n", twice(21)); return 0; }
"""


def _sources(place: Path) -> None:
    (place / "twice.c").write_text(_LIBRARY, encoding="utf-8")
    (place / "main.c").write_text(_PROGRAM, encoding="utf-8")


def test_gcc(tmp_path: Path) -> None:
    _sources(tmp_path)
    run("gcc", "-O2", "-shared", "-fPIC", "-o", "libtwice.so", "twice.c", cwd=tmp_path)
    origin = "-Wl,-rpath,$ORIGIN"
    run("gcc", "-flto", "-o", "main", "main.c", "-L.", "-ltwice", origin, cwd=tmp_path)

    assert run(tmp_path / "main") == "42\n"


def test_gcc_sanitizer(tmp_path: Path) -> None:
    # Its shadow is 16 TiB of addresses, and no memory.
    source = tmp_path / "main.c"
    source.write_text(
        "#include <stdlib.h>\nint main(void) { volatile char *p = malloc(8); return p[8]; }\n",
        encoding="utf-8",
    )
    run("gcc", "-g", "-fsanitize=address", "-o", tmp_path / "main", source)

    said = run(tmp_path / "main", status=1, env={"ASAN_OPTIONS": "exitcode=1"})

    assert "heap-buffer-overflow" in said


def test_gxx(tmp_path: Path) -> None:
    source = tmp_path / "main.cc"
    source.write_text(
        "#include <iostream>\n#include <thread>\n#include <stdexcept>\n"
        'int main() { std::thread([] { try { throw std::runtime_error("thrown"); }'
        "catch (const std::exception &e) { std::cout << e.what() << std::endl; } }).join(); }\n",
        encoding="utf-8",
    )
    run("g++", "-std=c++17", "-pthread", "-o", tmp_path / "main", source)

    assert run(tmp_path / "main") == "thrown\n"


def test_clang(tmp_path: Path) -> None:
    _sources(tmp_path)
    run("clang", "-O1", "-o", tmp_path / "main", tmp_path / "main.c", tmp_path / "twice.c")

    assert run(tmp_path / "main") == "42\n"


def test_go(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module example.test/m\n", encoding="utf-8")
    (tmp_path / "main.go").write_text(
        'package main\nimport "fmt"\nfunc main() { c := make(chan int)\n'
        "go func() { c <- 42 }()\nfmt.Println(<-c) }\n",
        encoding="utf-8",
    )
    places = {name: str(tmp_path / name.lower()) for name in ("GOCACHE", "GOPATH")}
    env = {**places, "GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOTOOLCHAIN": "local"}
    run("go", "build", "-o", "main", ".", cwd=tmp_path, env=env)

    assert run(tmp_path / "main") == "42\n"


def test_cargo(tmp_path: Path) -> None:
    env = {"CARGO_HOME": str(tmp_path / "home"), "CARGO_NET_OFFLINE": "true"}
    run("cargo", "new", "--vcs=none", "--lib", "twice", cwd=tmp_path, env=env)
    (tmp_path / "twice/src/lib.rs").write_text(
        "pub fn twice(n: i32) -> i32 { 2 * n }\n"
        "#[test]\nfn it_does() { assert_eq!(twice(21), 42); }\n",
        encoding="utf-8",
    )

    said = run("cargo", "test", "--offline", cwd=tmp_path / "twice", env=env)

    assert "test it_does ... ok" in said


def test_make(tmp_path: Path) -> None:
    # What `$(MAKE)` starts finds the job server's pipe among its descriptors.
    (tmp_path / "Makefile").write_text(
        "all: one two three\n"
        "one two three: ; @mkdir -p $@.d && $(MAKE) --no-print-directory -f ../inner -C $@.d\n",
        encoding="utf-8",
    )
    (tmp_path / "inner").write_text(
        "all: a b c\na b c: ; @echo $@ $(filter -j%,$(MAKEFLAGS)) > $@\n", encoding="utf-8"
    )

    said = run("make", "-j4", cwd=tmp_path)

    assert "jobserver unavailable" not in said
    assert len(list(tmp_path.glob("*.d/[abc]"))) == 9
    assert (tmp_path / "two.d/b").read_text(encoding="utf-8") == "b -j4\n"


def test_cmake(tmp_path: Path) -> None:
    _sources(tmp_path)
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.18)\nproject(p C)\nenable_testing()\n"
        "add_library(twice SHARED twice.c)\nadd_executable(main main.c)\n"
        "target_link_libraries(main twice)\nadd_test(NAME works COMMAND main)\n",
        encoding="utf-8",
    )
    build = tmp_path / "build"
    run("cmake", "-G", "Ninja", "-S", tmp_path, "-B", build)
    run("ninja", "-C", build)

    assert run(build / "main") == "42\n"
    assert "100% tests passed" in run("ctest", cwd=build)
