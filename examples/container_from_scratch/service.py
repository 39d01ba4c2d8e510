"""A service: listen on port 5432, tell with which Java, and go when standard input ends."""

from __future__ import annotations

import os
import socket
import sys

with socket.create_server(("127.0.0.1", 5432)):
    print(f"on port 5432 with {os.environ.get('JAVA_HOME', 'no Java')}", flush=True)
    sys.stdin.read()
