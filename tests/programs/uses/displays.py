"""Programs that draw: on a display that is in memory, or into a file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.programs.uses.helping import answers
from tests.programs.uses.helping import free_port
from tests.programs.uses.helping import run
from tests.programs.uses.helping import serving

if TYPE_CHECKING:
    from pathlib import Path


def test_xvfb(tmp_path: Path) -> None:
    said = run("xvfb-run", "--auto-servernum", "xdpyinfo", cwd=tmp_path)

    assert "dimensions:" in said
    assert "vendor string:" in said


def test_chromium(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(
        "<p id=x>before</p><script>fetch('text').then(a => a.text())"
        ".then(t => document.getElementById('x').textContent = t)</script>",
        encoding="utf-8",
    )
    (tmp_path / "text").write_text("fetched", encoding="utf-8")
    port = free_port()
    pages = ["busybox", "httpd", "-f", "-p", f"127.0.0.1:{port}", "-h", tmp_path]
    # As Chromium itself demands of root; its own sandbox is used by others.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    options += ["--headless", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    options += ["--virtual-time-budget=20000", f"--screenshot={tmp_path}/shot.png"]
    with serving(*pages, log=tmp_path / "log", ready=lambda: answers(port), statuses=(-15,)):
        page = f"http://127.0.0.1:{port}/page.html"
        said = run("chromium", *options, "--dump-dom", page)
        run("chromium", *options, page)

    assert '<p id="x">fetched</p>' in said
    assert (tmp_path / "shot.png").read_bytes().startswith(b"\x89PNG")


def test_ffmpeg(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    source = ["-f", "lavfi", "-i", "testsrc=duration=1:size=160x120:rate=10"]
    run("ffmpeg", "-nostdin", "-loglevel", "error", *source, "-pix_fmt", "yuv420p", film)

    probed = run(
        "ffprobe", "-loglevel", "error", "-count_frames", "-show_entries",
        "stream=width,nb_read_frames", "-of", "csv=p=0", film,
    )  # fmt: skip

    assert probed.strip() == "160,10"


def test_imagemagick(tmp_path: Path) -> None:
    picture, small = tmp_path / "picture.png", tmp_path / "small.jpg"
    run("convert", "-size", "200x100", "gradient:red-blue", picture)
    run("convert", picture, "-resize", "50%", small)

    assert run("identify", "-format", "%m %wx%h", small) == "JPEG 100x50"


def test_graphviz() -> None:
    said = run("dot", "-Tsvg", text="digraph { first -> second }")

    assert "<title>first&#45;&gt;second</title>" in said


def test_ghostscript(tmp_path: Path) -> None:
    paper = tmp_path / "paper.ps"
    paper.write_text("%!PS\n100 100 moveto 200 200 lineto stroke showpage\n", encoding="utf-8")
    run("gs", "-q", "-dBATCH", "-dNOPAUSE", "-sDEVICE=pdfwrite", f"-o{tmp_path}/out.pdf", paper)

    assert (tmp_path / "out.pdf").read_bytes().startswith(b"%PDF")
