from __future__ import annotations

import logging
import sqlite3
import threading
import urllib.request

from app import make
import pytest
from werkzeug.serving import make_server

logging.getLogger("werkzeug").disabled = True  # it logs the time and the port


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("base") / "notes.sqlite"
    with sqlite3.connect(path) as base:
        base.execute("create table notes (text)")
    return path


@pytest.fixture
def client(path):
    return make(path).test_client()


@pytest.mark.parametrize("text", ["one", "two"])
def test_note(client, text):
    assert client.post("/notes", data={"text": text}).status_code == 201
    assert text in client.get("/notes").json


def test_missing(client):
    assert client.get("/nowhere").status_code == 200


def test_served(path):
    server = make_server("127.0.0.1", 0, make(path))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.port}/notes"
    assert urllib.request.urlopen(url).status == 200
    server.shutdown()
