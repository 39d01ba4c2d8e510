from __future__ import annotations

import sqlite3

from flask import Flask
from flask import g
from flask import request


def make(path):
    app = Flask(__name__)

    def base():
        if "base" not in g:
            g.base = sqlite3.connect(path)
        return g.base

    @app.teardown_appcontext
    def close(_):
        g.pop("base", None)

    @app.post("/notes")
    def add():
        base().execute("insert into notes values (?)", (request.form["text"],))
        base().commit()
        return "", 201

    @app.get("/notes")
    def notes():
        return [text for (text,) in base().execute("select text from notes")]

    return app
