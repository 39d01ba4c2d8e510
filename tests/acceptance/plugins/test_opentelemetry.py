"""pytest-opentelemetry exports a span of each isolated test; its exporter's thread harms none."""

from __future__ import annotations

from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from importlib import import_module
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.conftest import Suite

SUITE = """
    import pytest

    def test_passes(tmp_path): pass
    def test_fails(): assert 0
    @pytest.mark.isolated
    def test_marked(): pass
"""
OK, ERROR = 1, 2  #: `Status.StatusCode` of opentelemetry.proto.trace.v1


@contextmanager
def collector() -> Iterator[tuple[str, dict[str, int]]]:
    """Yield the address of a server that takes spans over HTTP, and their statuses by name."""
    protocol = import_module("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    spans: dict[str, int] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers["Content-Length"])
            request = protocol.ExportTraceServiceRequest()
            request.ParseFromString(self.rfile.read(size))
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    spans.update({span.name: span.status.code for span in scope.spans})
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", spans
        finally:
            server.shutdown()
            thread.join()


def exported(suite: Suite, *arguments: str) -> tuple[dict[str, int], list[str], list[str]]:
    """Return the statuses of the spans of a run, by name, its lines of ours, and its outcomes."""
    with collector() as (address, spans):
        run = suite.run(
            *arguments,
            *("-p", "pytest_opentelemetry.plugin", "--export-traces"),
            OTEL_EXPORTER_OTLP_ENDPOINT=address,
            OTEL_TRACES_EXPORTER="otlp_proto_http",
        )
    names = ("test_passes", "test_fails", "test_marked")
    outcomes = [run.outcomes(name)["call"] for name in names]
    return spans, [one for one in run.told if "opentelemetry" in one], outcomes


def test_span_of_each_test_is_exported_and_what_is_not_is_told(suite: Suite) -> None:
    suite.write({"a": SUITE})

    plain, told_plainly, outcomes = exported(suite, "--no-isolate")
    isolated, told, outcomes_isolated = exported(suite, "--isolate")

    assert outcomes_isolated == outcomes == ["passed", "failed", "passed"]
    tests = {name for name in plain if name.endswith(("passes", "fails", "marked"))}
    assert len(tests) == 3
    assert {name: isolated.get(name) for name in tests} == {name: plain[name] for name in tests}
    assert not told_plainly
    assert len(told) == 1
    assert "exports one span of an isolated test, with its status" in told[0]


def test_exporter_over_grpc_with_its_threads_of_c_changes_no_outcome(suite: Suite) -> None:
    suite.write({"a": SUITE})
    arguments = ("-p", "pytest_opentelemetry.plugin", "--export-traces")
    nowhere = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}

    plain = suite.run("--no-isolate", *arguments, **nowhere)
    isolated = suite.run("--isolate", *arguments, **nowhere)

    assert isolated.events == plain.events
