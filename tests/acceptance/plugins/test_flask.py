"""A Flask application with a database in SQLite is the same in a sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite


def test_application_is_the_same(suite: Suite) -> None:
    suite.write({
        "app.py": """
            import sqlite3
            from flask import Flask, g, request

            def make(path):
                app = Flask(__name__)
                def base():
                    if "base" not in g: g.base = sqlite3.connect(path)
                    return g.base
                @app.teardown_appcontext
                def close(_): g.pop("base", None)
                @app.post("/notes")
                def add():
                    base().execute("insert into notes values (?)", (request.form["text"],))
                    base().commit()
                    return "", 201
                @app.get("/notes")
                def notes(): return [text for text, in base().execute("select text from notes")]
                return app
        """,
        "a": """
            import logging, sqlite3, threading, urllib.request, pytest
            from werkzeug.serving import make_server
            from app import make

            logging.getLogger("werkzeug").disabled = True  # it logs the time and the port

            @pytest.fixture(scope="module")
            def path(tmp_path_factory):
                path = tmp_path_factory.mktemp("base") / "notes.sqlite"
                with sqlite3.connect(path) as base: base.execute("create table notes (text)")
                return path
            @pytest.fixture
            def client(path): return make(path).test_client()
            @pytest.mark.parametrize("text", ["one", "two"])
            def test_note(client, text):
                assert client.post("/notes", data={"text": text}).status_code == 201
                assert text in client.get("/notes").json
            def test_missing(client): assert client.get("/nowhere").status_code == 200
            def test_served(path):
                server = make_server("127.0.0.1", 0, make(path))
                threading.Thread(target=server.serve_forever, daemon=True).start()
                url = f"http://127.0.0.1:{server.port}/notes"
                assert urllib.request.urlopen(url).status == 200
                server.shutdown()
        """,
    })

    plain, isolated = suite.twice()

    assert isolated == plain
    assert plain.outcomes("test_served")["call"] == "passed"
