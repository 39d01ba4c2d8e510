"""Languages that bring a runtime: each does something of its own, with processes or threads."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING
from typing import Final
from zipfile import ZipFile

from tests.programs.uses.helping import run

if TYPE_CHECKING:
    from pathlib import Path

_JAVA: Final = """
import java.net.*;
import java.nio.file.*;
import java.util.concurrent.*;

public class Main {
    public static void main(String[] args) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(4);
        ServerSocket server = new ServerSocket(0, 5, InetAddress.getByName("127.0.0.1"));
        Future<Integer> read = pool.submit(() -> {
            try (Socket one = server.accept()) { return one.getInputStream().read(); }
        });
        try (Socket one = new Socket("127.0.0.1", server.getLocalPort())) {
            one.getOutputStream().write(42);
        }
        Files.writeString(Path.of(args[0]), "read " + read.get());
        pool.shutdown();
        System.out.println(new String(new ProcessBuilder("echo", "child").start()
            .getInputStream().readAllBytes()));
    }
}
"""
_NODE: Final = """
const http = require("http");
const { spawnSync } = require("child_process");
const { Worker } = require("worker_threads");
const server = http.createServer((request, answer) => answer.end("served " + request.url));
server.listen(0, "127.0.0.1", () => {
    http.get({ port: server.address().port, host: "127.0.0.1", path: "/x" }, (answer) => {
        answer.on("data", (data) => console.log(String(data)));
        answer.on("end", () => server.close());
    });
});
new Worker("require('worker_threads').parentPort.postMessage(6 * 7)", { eval: true })
    .on("message", (n) => console.log("worker " + n));
console.log(String(spawnSync("echo", ["child"]).stdout).trim());
"""
_METADATA: Final = "Metadata-Version: 2.1\nName: wheeled\nVersion: 1.0\n"
_WHEEL: Final = "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def test_java(tmp_path: Path) -> None:
    source = tmp_path / "Main.java"
    source.write_text(_JAVA, encoding="utf-8")
    # It would leave a directory in /tmp, with isolation or without.
    unwatched = "-XX:-UsePerfData"
    run("javac", f"-J{unwatched}", "-d", tmp_path, source)

    said = run("java", unwatched, "-cp", tmp_path, "Main", tmp_path / "out")

    assert said.strip() == "child"
    assert (tmp_path / "out").read_text(encoding="utf-8") == "read 42"


def test_node(tmp_path: Path) -> None:
    script = tmp_path / "main.js"
    script.write_text(_NODE, encoding="utf-8")

    said = run("node", script).splitlines()

    assert sorted(said) == ["child", "served /x", "worker 42"]


def test_ruby() -> None:
    script = """
        require "socket"
        one, other = UNIXSocket.pair
        pid = fork { other.puts [1, 2, 3].sum.to_s; exit! 3 }
        Process.wait pid
        puts one.gets, $?.exitstatus, Thread.new { 6 * 7 }.value, `echo child`
    """

    assert run("ruby", "-", text=script) == "6\n3\n42\nchild\n"


def test_perl(tmp_path: Path) -> None:
    script = """
        use strict; use warnings; use IO::Socket::INET; use File::Temp qw(tempfile);
        my $s = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1") or die $!;
        my $pid = fork();
        my $there = $s->sockhost . ":" . $s->sockport;
        if (!$pid) { IO::Socket::INET->new($there)->print("sent\\n"); exit 3 }
        print $s->accept->getline; waitpid($pid, 0); print $? >> 8, "\\n";
        my ($file, $name) = tempfile(UNLINK => 1); print -e $name ? "there\\n" : "not\\n";
        alarm 1; eval { local $SIG{ALRM} = sub { die "rang\\n" }; sleep 60 }; print $@;
    """

    assert run("perl", "-", text=script, cwd=tmp_path) == "sent\n3\nthere\nrang\n"


def test_php(tmp_path: Path) -> None:
    script = tmp_path / "main.php"
    script.write_text(
        "<?php $p = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);"
        "fwrite($p[0], json_encode(['n' => 6 * 7])); echo fread($p[1], 100), PHP_EOL;"
        "echo shell_exec('echo child'); echo file_put_contents(tempnam('', 'x'), 'abc');",
        encoding="utf-8",
    )

    assert run("php", script, env={"TMPDIR": str(tmp_path)}) == '{"n":42}\nchild\n3'


def test_lua() -> None:
    script = """
        local p = io.popen("echo child"); print(p:read()); p:close()
        local f = io.tmpfile(); f:write("kept"); f:seek("set"); print(f:read())
        print(string.rep("ab", 3), coroutine.wrap(function() coroutine.yield(42) end)())
    """

    assert run("lua5.4", "-", text=script) == "child\nkept\nababab\t42\n"


def test_tcl() -> None:
    script = """
        set server [socket -server {apply {{c a p} {puts $c sent; close $c}}} -myaddr 127.0.0.1 0]
        set c [socket -async 127.0.0.1 [lindex [fconfigure $server -sockname] 2]]
        fileevent $c readable {gets $c said; puts $said; set done 1}
        vwait done
        puts [exec echo child]
    """

    assert run("tclsh", text=script) == "sent\nchild\n"


def test_pip(tmp_path: Path) -> None:
    wheel = tmp_path / "wheeled-1.0-py3-none-any.whl"
    with ZipFile(wheel, "w") as archive:
        archive.writestr("wheeled.py", "def main(): print('from a wheel')\n")
        archive.writestr("wheeled-1.0.dist-info/METADATA", _METADATA)
        archive.writestr("wheeled-1.0.dist-info/WHEEL", _WHEEL)
        points = "[console_scripts]\nwheeled = wheeled:main\n"
        archive.writestr("wheeled-1.0.dist-info/entry_points.txt", points)
        archive.writestr("wheeled-1.0.dist-info/RECORD", "")
    place = tmp_path / "venv"
    run(sys.executable, "-m", "venv", place)
    offline = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}
    run(place / "bin/pip", "install", "--no-cache-dir", wheel, env=offline)

    assert run(place / "bin/wheeled") == "from a wheel\n"
    assert "wheeled" in run(place / "bin/pip", "list", env=offline)


def test_bash(tmp_path: Path) -> None:
    script = """
        set -o pipefail
        trap 'echo trapped' USR1; kill -USR1 $$
        diff <(printf 'a\\nb\\n') <(printf 'a\\nc\\n'); echo $?
        coproc cat; echo through >&"${COPROC[1]}"; read -r line <&"${COPROC[0]}"; echo "$line"
        sleep 0.1 & wait $!; echo $?; echo $((16#2a))
        cat <<<"$(ulimit -c >/dev/null && echo limits)"
    """
    said = run("bash", "-s", text=script, cwd=tmp_path)

    assert said == "trapped\n2c2\n< b\n---\n> c\n1\nthrough\n0\n42\nlimits\n"
