"""Databases, each with a server of its own but for SQLite."""

from __future__ import annotations

from contextlib import contextmanager
import os
from pathlib import Path
import pwd
import shutil
import socket
import tempfile
from typing import TYPE_CHECKING

from tests.programs.uses.helping import answers
from tests.programs.uses.helping import eventually
from tests.programs.uses.helping import found
from tests.programs.uses.helping import free_port
from tests.programs.uses.helping import run
from tests.programs.uses.helping import serving
from tests.programs.uses.helping import succeeds

if TYPE_CHECKING:
    from collections.abc import Iterator


def _as(user: str) -> list[str]:
    """Return what runs a command as *user*, for daemons that refuse to be root's."""
    if os.geteuid() != 0:
        return []
    return [found("setpriv"), f"--reuid={user}", f"--regid={user}", "--init-groups"]


@contextmanager
def _directory_of(user: str) -> Iterator[Path]:
    """Make a directory that *user* can write to, if root is asking, as `tmp_path` is not."""
    with tempfile.TemporaryDirectory() as name:
        if os.geteuid() == 0:
            entry = pwd.getpwnam(user)
            os.chown(name, entry.pw_uid, entry.pw_gid)
        yield Path(name)


def test_postgresql(tmp_path: Path) -> None:
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"))
    port = str(free_port())
    with _directory_of("postgres") as place:
        user, data = _as("postgres"), place / "data"
        run(*user, programs / "initdb", "--no-sync", "--auth=trust", "--username=me", data)
        # Its own user has the socket where Debian has it; others may not write there.
        socket, asked = ([], []) if user else (["-k", place], [f"--host={place}"])

        def psql(query: str) -> str:
            names = [f"--port={port}", "--username=me", "--no-psqlrc"]
            words = ["--tuples-only", "--no-align", "postgres"]
            return run("psql", *asked, *names, *words, text=query)

        server = [*user, programs / "postgres", "-D", data, *socket, "-p", port, "-F"]
        ready = [programs / "pg_isready", *asked, f"--port={port}"]
        with serving(*server, log=tmp_path / "log", ready=lambda: succeeds(*ready)):
            psql("create table numbers as select generate_series(1, 1000) as n")

            assert psql("select sum(n) from numbers") == "500500\n"
            assert psql("select count(*) from pg_stat_activity where state = 'active'") == "1\n"


def test_redis(tmp_path: Path) -> None:
    port = str(free_port())
    server = ["redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", tmp_path]
    asked = ["redis-cli", "-p", port]
    with serving(*server, log=tmp_path / "log", ready=lambda: answers(int(port))):
        eventually(lambda: "PONG" in run(*asked, "ping"))
        run(*asked, "lpush", "words", "one", "two")

        assert run(*asked, "lrange", "words", "0", "-1") == "two\none\n"
        assert "Background saving started" in run(*asked, "bgsave")  # forks
        eventually(lambda: "rdb_bgsave_in_progress:0" in run(*asked, "info", "persistence"))
        assert "rdb_last_bgsave_status:ok" in run(*asked, "info", "persistence")
    assert (tmp_path / "dump.rdb").read_bytes().startswith(b"REDIS")


def test_memcached(tmp_path: Path) -> None:
    port = free_port()
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    server = ["memcached", *user, "-l", "127.0.0.1", "-p", str(port), "-U", "0"]
    with (
        serving(*server, log=tmp_path / "log", ready=lambda: answers(port)),
        socket.create_connection(("127.0.0.1", port)) as connection,
        connection.makefile("rw", newline="") as lines,
    ):
        lines.write("set key 0 0 5\r\nvalue\r\nget key\r\nquit\r\n")
        lines.flush()

        assert lines.read() == "STORED\r\nVALUE key 0 5\r\nvalue\r\nEND\r\n"


def test_sqlite(tmp_path: Path) -> None:
    file = tmp_path / "numbers.db"
    made = run(
        "sqlite3",
        file,
        text="pragma journal_mode=wal; create table t(n); insert into t values (7);",
    )
    changed = run("sqlite3", file, text="begin; update t set n = n * 6; commit; select n from t;")

    assert made == "wal\n"
    assert changed == "42\n"
    assert "INSERT INTO t VALUES(42);" in run("sqlite3", file, ".dump")
    assert run("sqlite3", file, "pragma integrity_check") == "ok\n"


def test_mariadb(tmp_path: Path) -> None:
    with _directory_of("mysql") as place:
        data, door, name = place / "data", place / "socket", str(place)
        user = ["--user=mysql"] if os.geteuid() == 0 else []
        common = ["--no-defaults", f"--datadir={data}", *user]
        made = ["--skip-test-db", "--auth-root-authentication-method=normal", "--force"]
        run("mariadb-install-db", *common, *made, env={"TMPDIR": name})
        server = [found("mariadbd"), *common, f"--socket={door}", "--skip-networking"]
        server.append(f"--pid-file={place}/pid")
        asked = ["mariadb", "--no-defaults", f"--socket={door}", "--user=root", "--batch"]
        with serving(*server, log=tmp_path / "log", ready=door.exists, env={"TMPDIR": name}):
            eventually(lambda: succeeds(*asked, "-e", "select 1"))
            run(*asked, text="create database d; create table d.t (n int) engine=innodb;")
            run(*asked, text="insert into d.t values (1), (2), (39);")

            assert run(*asked, "-e", "select sum(n) from d.t") == "sum(n)\n42\n"
        shutil.rmtree(data)
