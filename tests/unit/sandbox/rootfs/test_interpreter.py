from __future__ import annotations

import os
from pathlib import Path
import struct
import sys
import types

from hypothesis import given
from hypothesis import strategies as st
import pytest

from pytest_isolate.sandbox.linux import elf
from pytest_isolate.sandbox.rootfs import interpreter

#: Where they are found: DESTSHARED is where they were to be installed when it was compiled.
EXTENSIONS = sorted(
    file for place in sys.path if place.endswith("lib-dynload") for file in Path(place).glob("*.so")
)


def below(path: str, tops: tuple[str, ...]) -> bool:
    return any(path == top or path.startswith(f"{top}/") for top in tops)


def test_everything_that_is_imported_from_is_among_the_paths() -> None:
    paths = interpreter.interpreter_paths()
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]

    missed = [file for file in files if file and os.path.exists(file) and not below(file, paths)]

    assert missed == []
    assert below(sys.executable, paths)
    assert below(os.path.realpath(sys.executable), paths)


def test_no_path_covers_another_and_all_exist() -> None:
    paths = interpreter.interpreter_paths()

    assert [p for p in paths if below(p, tuple(q for q in paths if q != p))] == []
    assert all(os.path.exists(path) for path in paths)


@pytest.mark.parametrize("path", ["/", "/usr", "/usr/bin", "/tmp", "/usr/lib"])
def test_a_directory_of_everybodys_is_never_taken_whole(
    monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(sys, "path", [path, *sys.path])

    assert path not in interpreter.interpreter_paths()


def test_an_import_path_is_there_with_and_without_its_links(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "link"), str(tmp_path / "none"), *sys.path])

    paths = interpreter.interpreter_paths()

    assert {str(tmp_path / "link"), str(tmp_path / "real")} <= set(paths)
    assert str(tmp_path / "none") not in paths


def test_an_empty_import_path_is_the_current_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])

    assert below(str(tmp_path), interpreter.interpreter_paths())


def test_packages_found_by_an_import_hook_are_among_the_paths(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("editable", "loaded"):
        (tmp_path / name).mkdir()
    finder = types.ModuleType("__editable___thing_finder")
    finder.MAPPING = {"thing": str(tmp_path / "editable")}  # type: ignore[attr-defined]  # its own
    loaded = types.ModuleType("loaded")
    loaded.__path__ = [str(tmp_path / "loaded")]
    monkeypatch.setitem(sys.modules, finder.__name__, finder)
    monkeypatch.setitem(sys.modules, loaded.__name__, loaded)

    assert {str(tmp_path / "editable"), str(tmp_path / "loaded")} <= set(
        interpreter.interpreter_paths()
    )


def test_libraries_of_the_system_are_named_and_those_of_packages_are_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    vendored = tmp_path / "package.libs"
    vendored.mkdir()
    (vendored / "libvendored-1a2b.so.3").write_bytes(b"no object")
    (tmp_path / "extension.so").write_bytes(
        shared_object(needed=("libvendored-1a2b.so.3", "libsystem.so.1"), runpath="")
    )
    (tmp_path / "other.so").write_bytes(
        shared_object(needed=("libnext.so.2",), runpath="$ORIGIN/package.libs")
    )
    (vendored / "libnext.so.2").write_bytes(b"no object")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    interpreter.needed_libraries.cache_clear()
    try:
        names = interpreter.needed_libraries()
    finally:
        interpreter.needed_libraries.cache_clear()

    assert "libsystem.so.1" in names
    assert "libgcc_s.so.1" in names
    assert not {"libvendored-1a2b.so.3", "libnext.so.2"} & set(names)


def test_a_library_that_is_missing_is_no_error() -> None:
    interpreter.preload(["libno-such-library.so.9"])


def shared_object(*, needed: tuple[str, ...], runpath: str) -> bytes:
    """Return the least ELF file with a dynamic section, at an address that is not its offset."""
    names = b"\0"
    entries = []
    for tag, name in [(1, name) for name in needed] + ([(29, runpath)] if runpath else []):
        entries.append((tag, len(names)))
        names += name.encode() + b"\0"
    base, dynamic = 0x10000, 64 + 2 * 56
    size = (len(entries) + 2) * 16
    entries += [(5, base + dynamic + size), (0, 0)]
    total = dynamic + size + len(names)
    header = struct.pack(
        "=16sHHIQQQIHHHHHH",
        b"\x7fELF\x02" + (b"\x01" if sys.byteorder == "little" else b"\x02") + b"\x01",
        *(3, 0, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0),
    )
    load = struct.pack("=IIQQQQQQ", 1, 5, 0, base, base, total, total, 4096)
    section = struct.pack("=IIQQQQQQ", 2, 6, dynamic, base + dynamic, 0, size, size, 8)
    return header + load + section + b"".join(struct.pack("=qQ", *e) for e in entries) + names


def test_the_dynamic_section_is_read(tmp_path: Path) -> None:
    file = tmp_path / "x.so"
    file.write_bytes(shared_object(needed=("liba.so.1", "libb.so"), runpath="$ORIGIN/l:${ORIGIN}"))

    wants = elf.wants(str(file))

    assert wants.libraries == ("liba.so.1", "libb.so")
    assert wants.places == (f"{tmp_path}/l", str(tmp_path))


@pytest.mark.skipif(not EXTENSIONS, reason="this interpreter has its extension modules built in")
def test_the_extension_modules_of_this_interpreter_are_read() -> None:
    assert {"libc.so.6", "libm.so.6"} & {
        name for file in EXTENSIONS for name in elf.wants(str(file)).libraries
    }


@given(st.integers(8, 330), st.binary(min_size=1, max_size=40), st.integers(60, 400))
def test_a_broken_file_is_no_error(
    tmp_path_factory: pytest.TempPathFactory, place: int, noise: bytes, length: int
) -> None:
    file = tmp_path_factory.getbasetemp() / "broken.so"
    content = bytearray(shared_object(needed=("liba.so.1",), runpath="$ORIGIN"))
    content[place : place + len(noise)] = noise
    file.write_bytes(content[:length])

    wants = elf.wants(str(file))

    assert all(len(name) < len(content) for name in wants.libraries)


@pytest.mark.parametrize("path", ["/no/such/file", "/", "/dev/null"])
def test_what_is_no_object_file_wants_nothing(path: str) -> None:
    assert elf.wants(path) == elf.Wants()
